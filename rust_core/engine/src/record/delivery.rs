//! What a record says about one message on its way to one recipient.

/// The fields of a delivery; see `sealwax.model.delivery.Delivery`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the Python dataclass of the same names documents them"
)]
pub struct Delivery {
    pub email_id: String,
    pub rcpt_index: u64,
    pub tenant_id: String,
    pub stream: String,
    pub reverse_path: String,
    pub rcpt: String,
    pub rcpt_domain: String,
    pub accepted_at_ms: u64,
    pub give_up_at_ms: u64,
    pub attempt: u64,
    pub due_ms: u64,
    pub not_before_ms: u64,
    pub source_ip: String,
    pub dkim_domain: String,
    pub template: String,
    pub tags: Vec<(String, String)>,
    pub request: (String, u64, u64),
    pub since_ms: u64,
    pub waits: Vec<(String, String, u64)>,
}

//! Writing records.

use super::{Delivery, VERSION, email_id};

/// Encodes a delivery with its row (empty for none) and its message.
pub fn encode(delivery: &Delivery, row: &[u8], message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.len() + message.len() + 400);
    out.push(VERSION);
    put_bytes(&mut out, row);
    put_id(&mut out, &delivery.email_id);
    put_number(&mut out, delivery.rcpt_index);
    for text in [
        &delivery.tenant_id,
        &delivery.stream,
        &delivery.reverse_path,
        &delivery.rcpt,
        &delivery.rcpt_domain,
    ] {
        put_bytes(&mut out, text.as_bytes());
    }
    for number in [
        delivery.accepted_at_ms,
        delivery.give_up_at_ms,
        delivery.attempt,
        delivery.due_ms,
        delivery.not_before_ms,
    ] {
        put_number(&mut out, number);
    }
    for text in [
        &delivery.source_ip,
        &delivery.dkim_domain,
        &delivery.template,
    ] {
        put_bytes(&mut out, text.as_bytes());
    }
    put_number(&mut out, delivery.tags.len() as u64);
    for (name, value) in &delivery.tags {
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, value.as_bytes());
    }
    put_bytes(&mut out, delivery.request.0.as_bytes());
    put_number(&mut out, delivery.request.1);
    put_number(&mut out, delivery.request.2);
    put_number(&mut out, delivery.since_ms);
    put_number(&mut out, delivery.waits.len() as u64);
    for (cause, rule, ms) in &delivery.waits {
        put_bytes(&mut out, cause.as_bytes());
        put_bytes(&mut out, rule.as_bytes());
        put_number(&mut out, *ms);
    }
    out.extend_from_slice(message);
    out
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_id(out: &mut Vec<u8>, id: &str) {
    if let Some(number) = email_id::number(id) {
        out.push(email_id::AS_BYTES);
        out.extend_from_slice(&number.to_be_bytes());
    } else {
        out.push(email_id::AS_TEXT);
        put_bytes(out, id.as_bytes());
    }
}

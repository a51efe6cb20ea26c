//! What a message costs, call by call: `cargo bench -p sealwax-engine`.
//!
//! Compare the signatures with `openssl speed rsa2048 ed25519` in the same session.
#![expect(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench that fails may panic"
)]

use std::hint::black_box;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, RsaKeyPair};
use criterion::{Criterion, criterion_group, criterion_main};
use sealwax_engine::dkim::Signer;
use sealwax_engine::mime::{Draft, compose};
use sealwax_engine::record::{Delivery, decode, encode};
use sealwax_engine::render::{Renderer, Texts};

fn html() -> String {
    let line = "<p style=\"color:#333\">Thank you for your order, it is on its way.</p>\n";
    line.repeat(5_000 / line.len())
}

fn draft() -> Draft {
    Draft {
        email_id: "01a20d1f-3219-7ca5-bdf1-be0377851f6e".to_owned(),
        date_ms: 1_764_000_000_000,
        author: ("Acme".to_owned(), "hello@acme.test".to_owned()),
        to: vec![("Ada".to_owned(), "ada@example.test".to_owned())],
        subject: "Your order".to_owned(),
        html: Some(html()),
        text: Some("Thank you for your order, it is on its way.".to_owned()),
        message_ids: vec!["01a20d1f.0@acme.test".to_owned()],
        ..Draft::default()
    }
}

fn signer(algorithm: &str) -> Signer {
    let der = if algorithm == "rsa" {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        pair.as_der().unwrap().as_ref().to_vec()
    } else {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        document.as_ref().to_vec()
    };
    Signer::new("acme.test", &[("s".to_owned(), algorithm.to_owned(), der)]).unwrap()
}

fn benches(c: &mut Criterion) {
    let renderer = Renderer::default();
    let texts = Texts {
        subject: Some("Hi {{name}}".to_owned()),
        html: Some(format!("<p>Hello {{{{name}}}}</p>{}", html())),
        text: None,
    };
    c.bench_function("render a template of 5 KB", |b| {
        b.iter(|| {
            renderer
                .render(black_box(&texts), br#"{"name": "Ada"}"#)
                .unwrap()
        });
    });
    let draft = draft();
    c.bench_function("compose MIME of 5 KB", |b| {
        b.iter(|| compose(black_box(&draft)).unwrap());
    });
    let html_alone = Draft {
        text: None,
        ..draft.clone()
    };
    c.bench_function("compose MIME of 5 KB, text made from the HTML", |b| {
        b.iter(|| compose(black_box(&html_alone)).unwrap());
    });
    let message = compose(&draft).unwrap().remove(0);
    for algorithm in ["rsa", "ed25519"] {
        let signer = signer(algorithm);
        c.bench_function(&format!("sign 5 KB with {algorithm}"), |b| {
            b.iter(|| signer.sign(black_box(&message), 1_764_000_000).unwrap());
        });
    }
    let delivery = Delivery {
        email_id: draft.email_id.clone(),
        rcpt: "ada@example.test".to_owned(),
        rcpt_domain: "example.test".to_owned(),
        ..Delivery::default()
    };
    c.bench_function("encode a record of 5 KB", |b| {
        b.iter(|| encode(black_box(&delivery), b"", &message));
    });
    let value = encode(&delivery, b"", &message);
    c.bench_function("decode a record of 5 KB", |b| {
        b.iter(|| decode(black_box(&value)).unwrap());
    });
}

criterion_group!(core, benches);
criterion_main!(core);

//! One 16-byte value: bare AES-256-GCM beside a whole presentation token, and the tokenisers and masks.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _, Nonce};
use criterion::{Criterion, criterion_group, criterion_main};
use ringfence_cipher::mask::mask;
use ringfence_cipher::{Format, Mask, MasterKey, Presenter, ValueType};

const VALUE: &[u8; 16] = b"4111111111111111";

fn seal(c: &mut Criterion) {
    let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
    let presenter = Presenter::new(MasterKey::from_bytes(&bytes).unwrap());
    let key = presenter.label("pci");
    let bare = Aes256Gcm::new(&bytes.into());
    let mut out = Vec::with_capacity(4096);

    c.bench_function("bare_aes_gcm_16", |b| {
        b.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(VALUE));
            let tag = bare
                .encrypt_inout_detached(&Nonce::from([7; 12]), b"0123456789a", InOutBuf::from(out.as_mut_slice()))
                .unwrap();
            out.extend_from_slice(&tag);
        });
    });
    c.bench_function("encrypt_16", |b| {
        b.iter(|| {
            out.clear();
            presenter.encrypt(&key, black_box(VALUE), &mut out).unwrap();
        });
    });
    c.bench_function("tokenize_digits_16", |b| {
        b.iter(|| {
            out.clear();
            presenter.tokenize(&key, ValueType::Text, Format::Text, black_box(VALUE), &mut out).unwrap();
        });
    });
    c.bench_function("tokenize_text", |b| {
        b.iter(|| {
            out.clear();
            let value = black_box(b"user0@example.com");
            presenter.tokenize(&key, ValueType::Text, Format::Text, value, &mut out).unwrap();
        });
    });
    c.bench_function("mask_last4_16", |b| {
        b.iter(|| {
            out.clear();
            mask(Mask::Last4, black_box(VALUE), &mut out);
        });
    });
}

criterion_group!(benches, seal);
criterion_main!(benches);

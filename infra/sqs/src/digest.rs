//! The digests of the SQS API.

use crate::MessageAttributes;
use md5::{Digest as _, Md5};
use sha2::Sha256;
use std::fmt::Write as _;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// `MD5OfMessageBody`.
pub fn md5_of_body(body: &str) -> String {
    hex(&Md5::digest(body.as_bytes()))
}

/// `MD5OfMessageAttributes`; none without attributes.
///
/// For each attribute, sorted by name: name, type and value, each preceded by its length as four bytes, and one byte
/// before the value that tells text (1) from binary (2).
pub fn md5_of_attributes(attributes: &MessageAttributes) -> Option<String> {
    let mut hash = Md5::new();
    let part = |hash: &mut Md5, bytes: &[u8]| {
        hash.update((bytes.len() as u32).to_be_bytes());
        hash.update(bytes);
    };
    for (name, attribute) in attributes {
        part(&mut hash, name.as_bytes());
        part(&mut hash, attribute.data_type.as_bytes());
        hash.update([if attribute.binary_value.is_some() { 2 } else { 1 }]);
        part(&mut hash, attribute.bytes());
    }
    (!attributes.is_empty()).then(|| hex(&hash.finalize()))
}

/// The deduplication id under `ContentBasedDeduplication`.
pub(crate) fn sha256(body: &str) -> String {
    hex(&Sha256::digest(body.as_bytes()))
}

//! The envelope of every queue message.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What travels on every queue; all that one workflow knows of another's messages.
///
/// Wire form: one JSON object, `{"v":1,"id":…,"kind":…,"tenant":…,"trace":…,"body":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Version of this wrapper, not of the body.
    pub v: u8,
    /// The accepted thing's own id, the same on every redelivery.
    pub id: String,
    /// `<workflow>.<what>`, such as `adt.event`.
    pub kind: String,
    /// Whose message it is.
    pub tenant: String,
    /// X-Ray trace header of the request that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The message proper.
    pub body: T,
}

/// A queue message that is not an envelope of the expected kind. Permanent: the bytes will not change.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("reading the message as an envelope")]
    Malformed(#[source] serde_json::Error),
    /// A later wrapper or another workflow's message.
    #[error("expected envelope v1 of kind {expected}, found v{v} of kind {kind}")]
    Unexpected {
        /// The kind this consumer takes.
        expected: &'static str,
        /// Its version.
        v: u8,
        /// Its kind.
        kind: String,
    },
}

impl<T: Serialize + DeserializeOwned> Envelope<T> {
    /// Wraps `body`.
    pub fn new(kind: &str, id: String, tenant: String, trace: Option<String>, body: T) -> Self {
        Self { v: 1, id, kind: kind.to_owned(), tenant, trace, body }
    }

    /// The JSON text that goes on the queue.
    ///
    /// # Errors
    /// Only when `T` cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads a queue message.
    ///
    /// # Errors
    /// See [`EnvelopeError`]; never worth a retry.
    pub fn parse(text: &str, expected: &'static str) -> Result<Self, EnvelopeError> {
        let envelope: Self = serde_json::from_str(text).map_err(EnvelopeError::Malformed)?;
        if envelope.v != 1 || envelope.kind != expected {
            return Err(EnvelopeError::Unexpected { expected, v: envelope.v, kind: envelope.kind });
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_survives_the_queue_and_refuses_another_kind() {
        let sent = Envelope::new("adt.event", "1".into(), "k".into(), Some("Root=1".into()), vec![1, 2]);
        let text = sent.to_json().unwrap();
        assert_eq!(Envelope::<Vec<i32>>::parse(&text, "adt.event").unwrap(), sent);
        assert!(matches!(Envelope::<Vec<i32>>::parse(&text, "sales.page"), Err(EnvelopeError::Unexpected { .. })));
        assert!(matches!(Envelope::<Vec<i32>>::parse("{", "adt.event"), Err(EnvelopeError::Malformed(_))));
    }
}

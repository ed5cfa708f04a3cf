//! Who holds a lease.

/// One delivery of one queue message, or any other worker that can name itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The queue's id of the message.
    pub message_id: String,
    /// Number of this delivery of the message, from 1: SQS's receive count.
    pub attempt: u32,
}

impl Owner {
    /// A request with an id of its own; it is delivered once.
    pub fn request(id: String) -> Self {
        Self { message_id: id, attempt: 1 }
    }
}

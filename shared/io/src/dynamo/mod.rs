//! DynamoDB: one table per workflow with the keys `pk` and `sk`, and conditional writes with outcomes.
//!
//! A condition that fails is an outcome ([`Create::Exists`], [`Update::Refused`]) with the old row (`ALL_OLD`), so that no
//! row has to be read before it is written.

mod attribute;
mod changes;
mod error;
mod query;
mod table;
mod transact;

pub use attribute::{AttributeValue, IntoAttribute, number};
pub use changes::Changes;
pub(crate) use error::CallError;
pub use error::DynamoError;
pub use query::{Index, Page};
pub use table::{Create, Table, Update};
pub use transact::{Transact, Write};

use serde::Deserialize;
use std::collections::HashMap;

/// One row.
pub type Item = HashMap<String, AttributeValue>;

/// A row's primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Key {
    /// Partition key.
    pub pk: String,
    /// Sort key.
    pub sk: String,
}

impl Key {
    fn to_item(&self) -> Item {
        HashMap::from([
            ("pk".to_owned(), AttributeValue::S(self.pk.clone())),
            ("sk".to_owned(), AttributeValue::S(self.sk.clone())),
        ])
    }
}

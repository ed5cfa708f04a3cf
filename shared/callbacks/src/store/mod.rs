//! Every row of the callbacks table, a file for each entity: its row, its keys, its conditions.
//!
//! | Row | `pk` | `sk` | Lives |
//! |---|---|---|---|
//! | endpoint | `O#<organization>` | `W#<event>#<digest of the address>` | until removed |
//! | count of endpoints | `O#<organization>` | `N#<event>` | no expiry |
//! | endpoint by its id | `W#<endpoint id>` | `META` | until removed |
//! | pace of an endpoint | `W#<endpoint id>` | `PACE` | until removed |
//! | event | `E#<event id>` | `META` | 90 days |
//! | delivery | `E#<event id>` | `D#<endpoint id>` | 90 days |
//! | attempt | `E#<event id>` | `A#<endpoint id>#<number>` | 30 days |
//!
//! | Question | Query |
//! |---|---|
//! | which endpoints receive an event? | key prefix `W#<event>#` |
//! | what is the state of an event? | one query of `E#<event id>` |
//! | an endpoint's deliveries, newest first | index `endpoint` (`endpoint_pk` = id, `endpoint_sk` = event id) |
//! | which deliveries are due? | index `due`, marked rows only |

mod attempt;
mod delivery;
mod endpoint;
mod event;

pub(crate) use attempt::AttemptRow;
pub(crate) use delivery::{DeliveryRow, Resolution};
pub use endpoint::SEALED;
pub(crate) use endpoint::{EndpointAdded, EndpointRow, SigningSecret};
pub(crate) use event::EventRow;

use switchyard_io::Table;

/// The workflow's name in the index `due`.
pub(crate) const WORKFLOW: &str = "callbacks";

/// The handle on the workflow's table.
#[derive(Clone)]
pub(crate) struct CallbacksTable {
    table: Table,
}

impl CallbacksTable {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    pub(crate) fn dynamo(&self) -> &Table {
        &self.table
    }
}

//! Whole stacks over HTTP: `cargo dev` in this process, or a deployed one.

mod adt;
mod host;
mod inbound;
mod management;
mod management_isolation;
mod management_users;
mod management_world;
mod operators;
mod ops;
mod orders;
mod privacy;
mod signals;
mod webhooks;

use std::sync::atomic::{AtomicU32, Ordering};
use switchyard_tests::client::Client;
use switchyard_tests::stack::{Stack, company};

/// A client of the shared stack and a company of this test's own.
fn client() -> (Client, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let client = Client::new(Stack::shared().expect("the stack starts")).expect("a client");
    (client, company(NEXT.fetch_add(1, Ordering::Relaxed)))
}

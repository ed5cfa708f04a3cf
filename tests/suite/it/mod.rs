//! Single parts against the host's real engines, reached as functions reach them: through the AWS SDK.

mod adt;
mod config;
mod once;
mod orders;

use switchyard_core::Env;
use switchyard_io::Aws;
use switchyard_tests::client::Client;
use switchyard_tests::stack::Stack;

/// The shared stack's AWS endpoint, for SDK clients.
async fn aws() -> (Aws, Client) {
    let stack = Stack::shared().expect("the stack starts");
    (Aws::at(&stack.aws).await, Client::new(stack).expect("a client"))
}

fn env(pairs: Vec<(&'static str, String)>) -> Env {
    Env::from_lookup(move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()))
}

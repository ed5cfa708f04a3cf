//! Single parts against the host's real engines, reached as functions reach them: through the AWS SDK.

mod access;
mod adt;
mod archiver;
mod attempt;
mod callbacks;
mod callbacks_endpoints;
mod callbacks_world;
mod config;
mod data_keys;
mod dead_letters;
mod idempotency;
mod keys;
mod lease;
mod once;
mod orders;
mod orders_marketplaces;
mod orders_world;
mod pace;
mod purge;
mod s3;
mod signals;
mod signals_receipts;
mod signals_rules;
mod signals_webhooks;
mod signals_world;
mod usage;
mod usage_batches;
mod usage_limits;
mod usage_world;
mod vault;

use serde_json::{Value, json};
use switchyard_core::Env;
use switchyard_core::Owner;
use switchyard_io::Aws;
use switchyard_local::Template;
use switchyard_tests::client::{Client, unique};
use switchyard_tests::stack::Stack;

/// The shared stack's AWS endpoint, for SDK clients.
async fn aws() -> (Aws, Client) {
    let stack = Stack::shared().expect("the stack starts");
    (Aws::at(&stack.aws).await, Client::new(stack).expect("a client"))
}

fn env(pairs: Vec<(&'static str, String)>) -> Env {
    Env::from_lookup(move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()))
}

/// The first receive of a message of its own.
fn owner() -> Owner {
    Owner { message_id: format!("m-{}", unique()), attempt: 1 }
}

/// The stack's data keys, where a part seals what it keeps.
fn data_key() -> (&'static str, String) {
    ("DATA_KEY_SECRET", "DataKeySecret".to_owned())
}

/// The stack's bus for operators.
fn operator_bus() -> (&'static str, String) {
    ("OPERATOR_BUS", "OperatorBus".to_owned())
}

/// A standard queue of a test's own, which no function reads.
async fn queue(client: &Client, name: &str) -> String {
    let answer = client.aws("AmazonSQS.CreateQueue", &json!({"QueueName": name})).await.unwrap();
    answer["QueueUrl"].as_str().unwrap().to_owned()
}

/// Takes every message that is visible out of a queue: their bodies.
async fn take(client: &Client, queue: &str) -> Vec<Value> {
    let mut taken = Vec::new();
    loop {
        let request = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10});
        let answer = client.aws("AmazonSQS.ReceiveMessage", &request).await.unwrap();
        let Some(messages) = answer["Messages"].as_array().filter(|messages| !messages.is_empty()) else {
            return taken;
        };
        for message in messages {
            let request = json!({"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]});
            client.aws("AmazonSQS.DeleteMessage", &request).await.unwrap();
            taken.push(serde_json::from_str(message["Body"].as_str().unwrap()).unwrap());
        }
    }
}

/// A table of a test's own, shaped as the template says of `like`.
async fn table(client: &Client, like: &str, name: &str) {
    let template = Template::read(&switchyard_tests::root().join("template.yaml"), "").unwrap();
    let tables = template.resources("AWS::DynamoDB::Table").unwrap();
    let (_, properties) = tables.into_iter().find(|(id, _)| id == like).unwrap();
    let mut request = json!({"TableName": name, "BillingMode": "PAY_PER_REQUEST"});
    for part in ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"] {
        request[part] = properties[part].clone();
    }
    client.aws("DynamoDB_20120810.CreateTable", &request).await.unwrap();
}

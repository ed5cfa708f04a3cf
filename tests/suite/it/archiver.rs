//! From a workflow's dead-letter queue into its table, and back into its queue, once.

use super::{aws, data_key, env, operator_bus, table};
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_adt::{AcceptDeps, is_queued_event};
use switchyard_callbacks::CallbacksDeps;
use switchyard_core::Clock;
use switchyard_io::dlq::DeadMessage;
use switchyard_io::{Aws, Table};
use switchyard_orders::SyncDeps;
use switchyard_tests::client::{Client, unique};
use switchyard_work::dead_letters::{
    Archiver, DeadLetter, DeadLetterError, DeadLetterQueue, DeadLetterQueues, DeadLetters, NewDeadLetter,
    RedriveOutcome, Redriven, Subject,
};
use tokio::time::Instant;

/// No form of a message of any workflow.
const POISON: &str = "not JSON, but Canaryperson";

/// A workflow's table, queue and dead-letter queue, which no function of the stack reads.
struct World {
    aws: Aws,
    client: Client,
    workflow: &'static str,
    table: String,
    queue: String,
    dlq: String,
    archiver: Archiver,
    queues: DeadLetterQueues,
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

impl World {
    async fn new(workflow: &'static str) -> Self {
        let (aws, client) = aws().await;
        let name = format!("it-archiver-{workflow}-{}", unique());
        let like = format!("{}{}Table", workflow[..1].to_uppercase(), &workflow[1..]);
        table(&client, &like, &name).await;
        let suffix = if workflow == "adt" { ".fifo" } else { "" };
        let [queue, dlq] = ["queue", "dlq"].map(|of| format!("{name}-{of}{suffix}"));
        let mut urls = Vec::new();
        for queue in [queue, dlq] {
            let mut request = json!({"QueueName": queue});
            if workflow == "adt" {
                request["Attributes"] = json!({"FifoQueue": "true"});
            }
            let made = client.aws("AmazonSQS.CreateQueue", &request).await.unwrap();
            urls.push(made["QueueUrl"].as_str().unwrap().to_owned());
        }
        let [queue, dlq] = urls.try_into().unwrap();
        let env = env(vec![
            ("TABLE", name.clone()),
            ("DLQS", format!("dead={dlq}")),
            ("DEAD_LETTER_TABLES", format!("dead={workflow}:{name}")),
            operator_bus(),
        ]);
        Self {
            archiver: Archiver::from_env(&aws, &env, "TABLE", workflow).unwrap(),
            queues: DeadLetterQueues::from_env(&aws, &env, &[("adt", is_queued_event)]).unwrap(),
            table: name,
            aws,
            client,
            workflow,
            queue,
            dlq,
        }
    }

    fn dead(&self) -> &DeadLetterQueue {
        self.queues.find("dead").unwrap()
    }

    fn letters(&self) -> DeadLetters {
        DeadLetters::new(Table::named(&self.aws, &self.table), self.workflow)
    }

    /// A message dies.
    async fn send(&self, body: &str) {
        let mut message = json!({"QueueUrl": self.dlq, "MessageBody": body});
        if self.workflow == "adt" {
            message["MessageGroupId"] = json!("resident");
            message["MessageDeduplicationId"] = json!(format!("first-{}", unique()));
        }
        self.client.aws("AmazonSQS.SendMessage", &message).await.unwrap();
    }

    /// The messages of a queue, which stay there.
    async fn peek(&self, queue: &str) -> Vec<Value> {
        let request = json!({
            "QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0, "MessageSystemAttributeNames": ["All"],
        });
        let answer = self.client.aws("AmazonSQS.ReceiveMessage", &request).await.unwrap();
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    async fn archived(&self) -> Vec<DeadLetter> {
        self.queues.archived(self.dead(), None, 200).await.unwrap().0
    }

    async fn redrive_one(&self, id: &str) -> Option<RedriveOutcome> {
        self.queues.redrive_one(self.dead(), id, &"cli".into()).await.unwrap()
    }

    /// The workflow's own sweep.
    async fn sweep(&self) {
        let table = |name| (name, self.table.clone());
        let queue = |name| (name, self.queue.clone());
        let failed = match self.workflow {
            "adt" => {
                let env = env(vec![table("ADT_TABLE"), queue("ADT_QUEUE_URL")]);
                switchyard_adt::sweep(&AcceptDeps::from_env(&self.aws, &env).unwrap(), deadline()).await.err().map(drop)
            }
            "orders" => {
                let settings = [table("ORDERS_TABLE"), queue("ORDER_QUEUE_URL"), queue("CALLBACK_QUEUE_URL")];
                let env = env([settings.to_vec(), vec![data_key(), operator_bus()]].concat());
                let deps = SyncDeps::from_env(&self.aws, &env).unwrap();
                switchyard_orders::sweep(&deps, deadline()).await.err().map(drop)
            }
            "callbacks" => {
                let env = env(vec![table("CALLBACKS_TABLE"), queue("CALLBACK_QUEUE_URL"), data_key(), operator_bus()]);
                let deps = CallbacksDeps::from_env(&self.aws, &env).unwrap();
                switchyard_callbacks::sweep(&deps, deadline()).await.err().map(drop)
            }
            other => panic!("{other} has no dead-letter queue of this kind"),
        };
        assert_eq!(failed, None, "{} is swept", self.workflow);
    }
}

#[tokio::test]
async fn a_dead_letter_of_any_form_is_archived_once_and_redriven_once() {
    for workflow in ["adt", "orders", "callbacks"] {
        let world = World::new(workflow).await;
        world.send(POISON).await;
        // An earlier run archived it, and its deletion was lost.
        let sent = world.peek(&world.dlq).await.remove(0);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let message = DeadMessage {
            id: text(&sent["MessageId"]),
            receives: 1,
            sent_ms: text(&sent["Attributes"]["SentTimestamp"]).parse().unwrap(),
            body: POISON.to_owned(),
            group: sent["Attributes"]["MessageGroupId"].as_str().map(str::to_owned),
        };
        let earlier = NewDeadLetter::of_message("dead", &message, Subject::default());
        world.letters().archive(&DeadLetter::new(earlier, Clock::system().now())).await.unwrap();
        assert_eq!(world.queues.waiting(world.dead()).await.unwrap(), 2, "{workflow}: in both places");

        assert_eq!(world.archiver.run(deadline()).await.unwrap(), 1);
        assert!(world.peek(&world.dlq).await.is_empty(), "{workflow}");
        let [letter] = world.archived().await.try_into().unwrap_or_else(|found| panic!("{workflow}: one of {found:?}"));
        assert_eq!((letter.body.as_str(), letter.error_code.as_str()), (POISON, "receives_exhausted"));
        assert_eq!((&letter.tenant, &letter.group), (&None, &message.group), "{workflow}");
        assert_eq!(world.queues.waiting(world.dead()).await.unwrap(), 1);
        let shown = world.dead().shown(&letter.body);
        assert_eq!(shown, (workflow != "adt").then_some(POISON), "ADT's may name a resident");

        assert_eq!(world.redrive_one("019b2a3c-7c00-7a11-8b22-0c0ffee00001").await, None);
        assert_eq!(world.redrive_one(&letter.id).await, Some(RedriveOutcome::Redriven), "{workflow}");
        assert_eq!(world.redrive_one(&letter.id).await, Some(RedriveOutcome::AlreadyRedriven), "{workflow}");
        let nothing = Redriven { in_queue: 0, archived: 0, is_complete: true, is_moving: false };
        assert_eq!(world.queues.redrive(world.dead(), &"cli".into(), deadline()).await.unwrap(), nothing);
        assert_eq!(world.queues.waiting(world.dead()).await.unwrap(), 0);

        world.sweep().await;
        let [again] = world.peek(&world.queue).await.try_into().unwrap_or_else(|found| panic!("{workflow}: {found:?}"));
        assert_eq!(again["Body"], POISON, "{workflow}");
        if workflow == "adt" {
            let attributes = &again["Attributes"];
            assert_eq!(attributes["MessageGroupId"], "resident", "in order with the resident's other events");
            assert_eq!(
                attributes["MessageDeduplicationId"],
                json!(letter.id),
                "SQS would drop it under the first one's"
            );
        }
        world.sweep().await;
        assert_eq!(world.peek(&world.queue).await.len(), 1, "{workflow}: sent once");
        assert!(world.archived().await[0].redriven_at.is_some(), "{workflow}: it stays in the list");
    }
}

#[tokio::test]
async fn all_of_a_queue_are_listed_in_pages_and_redriven_at_once() {
    let world = World::new("callbacks").await;
    for number in 0..5 {
        world.send(&format!("{{\"id\": \"{number}\"}}")).await;
    }
    assert_eq!(world.archiver.run(deadline()).await.unwrap(), 5);
    let (mut bodies, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let (page, next) = world.queues.archived(world.dead(), cursor.as_deref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        bodies.extend(page.into_iter().map(|letter| letter.body));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    bodies.sort();
    assert_eq!(bodies, (0..5).map(|number| format!("{{\"id\": \"{number}\"}}")).collect::<Vec<_>>());
    assert_eq!(world.letters().count(&Default::default(), 3).await.unwrap(), 3);
    // What was archived in this very millisecond is left for the next call.
    let mut redriven = 0;
    while redriven < 5 {
        redriven += world.queues.redrive(world.dead(), &"cli".into(), deadline()).await.unwrap().archived;
    }
    world.sweep().await;
    assert_eq!(world.peek(&world.queue).await.len(), 5);
}

#[tokio::test]
async fn a_message_stays_in_its_queue_until_its_workflow_has_dealt_with_the_row() {
    let world = World::new("orders").await;
    world.send(POISON).await;
    let failing = async |_: &DeadLetter| Err(DeadLetterError::InvalidCursor);
    world.archiver.run_with(deadline(), |_| Subject::default(), failing).await.unwrap_err();
    let request = json!({"QueueUrl": world.dlq, "AttributeNames": ["ApproximateNumberOfMessagesNotVisible"]});
    let counted = world.client.aws("AmazonSQS.GetQueueAttributes", &request).await.unwrap();
    assert_eq!(counted["Attributes"]["ApproximateNumberOfMessagesNotVisible"], "1");
    assert_eq!(world.archived().await.len(), 1, "its row is there already");
}

//! What survives a restart or a killed process.

use crate::{World, bodies, map};
use std::fs;
use std::path::{Path, PathBuf};
use switchyard_sqs::{Error, NewMessage, queue_arn};

/// A new directory, removed at the end of the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The database as a process killed at this instant leaves it: what it wrote, and nothing it would still write.
    fn crash(&self, from: &str, to: &str) -> PathBuf {
        for suffix in ["", "-wal"] {
            fs::copy(self.0.join(format!("{from}{suffix}")), self.0.join(format!("{to}{suffix}"))).unwrap();
        }
        self.0.join(to)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn a_killed_process_loses_nothing_it_answered() {
    let directory = Directory::new("killed");
    let world = World::on_disk(&directory.0.join("a.db"));
    world.create("q", &[("VisibilityTimeout", "50")]);
    world.create("q.fifo", &[]);
    for body in ["1", "2", "3"] {
        world.sqs.send("q", NewMessage::new(body)).unwrap();
        world.send_to("q.fifo", "g", body);
    }
    let held = world.sqs.receive("q", 2, None).unwrap();
    world.sqs.delete("q", &held[0].receipt_handle).unwrap();
    world.sqs.receive("q.fifo", 1, None).unwrap();

    let reopened = World::on_disk(&directory.crash("a.db", "b.db"));
    assert_eq!(reopened.counts("q"), (1, 1, 0));
    assert_eq!(reopened.counts("q.fifo"), (2, 1, 0));
    assert_eq!(reopened.sqs.attributes("q").unwrap().visibility_timeout_s, 50);
    assert!(reopened.receive("q.fifo").is_empty()); // the group is still locked
    reopened.send_to("q.fifo", "g", "1"); // and still a duplicate
    reopened.pass(1);
    assert_eq!(reopened.sqs.release_in_flight().unwrap(), 2);
    assert_eq!(reopened.bodies("q.fifo"), ["1", "2", "3"]);
    let received = reopened.receive("q");
    assert_eq!(bodies(&received), ["3", "2"]); // "3" has been visible for longer
    assert_eq!(received[1].receive_count, 2);
    reopened.sqs.delete("q", &held[1].receipt_handle).unwrap(); // the old process's handle
    assert_eq!(reopened.counts("q"), (0, 1, 0));
}

#[tokio::test]
async fn a_move_task_cut_short_can_be_started_again() {
    let directory = Directory::new("moved");
    let world = World::on_disk(&directory.0.join("a.db"));
    let (source, dead) = world.create_pair("", 1);
    world.sqs.send(&source, NewMessage::new("x")).unwrap();
    world.receive(&source);
    world.pass(30);
    world.receive(&source);
    world.sqs.start_move_task(&queue_arn(&dead), None, None).unwrap(); // the runtime has not got to it yet

    let reopened = World::on_disk(&directory.crash("a.db", "b.db"));
    reopened.pass(30); // to where the first clock stands
    let task = reopened.sqs.move_tasks(&queue_arn(&dead), 10).unwrap().remove(0);
    assert_eq!((task.status.as_str(), task.moved), ("FAILED", 0));
    assert_eq!(reopened.counts(&dead), (1, 0, 0));
    reopened.sqs.start_move_task(&queue_arn(&dead), None, None).unwrap();
    while reopened.counts(&source).0 == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(reopened.counts(&dead), (0, 0, 0));
}

#[test]
fn one_process_at_a_time_has_the_file() {
    let directory = Directory::new("shared");
    let path = directory.0.join("a.db");
    let world = World::on_disk(&path);
    world.create("q", &[]);
    let clock = switchyard_sqs::Clock::system();
    let second = switchyard_sqs::Sqs::open(&switchyard_sqs::Location::File(path.clone()), clock);
    assert!(matches!(second, Err(Error::Open { .. })));
    drop(world);
    World::on_disk(&path).sqs.set_attributes("q", &map(&[("DelaySeconds", "1")])).unwrap();
    assert_eq!(World::on_disk(&path).sqs.attributes("q").unwrap().delay_s, 1);
}

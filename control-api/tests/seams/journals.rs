//! Journals in a real Redis: what is appended is there for the next writer, and the one before can do no more harm.

use std::time::Duration;

use control_api::{
    cache::RedisConnection,
    journals::{JournalFault, RedisJournal, RedisJournals},
};
use tokio::time::sleep;

use crate::redis_server::RedisServer;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_is_read_by_who_takes_over() {
    let Some(server) = RedisServer::start().await else { return };
    let (here, there) = (journals(&server, LONG), journals(&server, LONG));
    assert!(there.reopen("a").await.unwrap().is_none(), "there is none");
    let mut first = here.create("a");
    assert!(there.reopen("a").await.unwrap().is_none(), "nothing is in it");
    // Of three parts, and with every byte.
    let long: Vec<u8> = (0..2_500_000u32).map(|n| (n % 251) as u8).collect();
    first.append(b"\0\xff\r\n").await.unwrap();
    first.append(&long).await.unwrap();
    assert_eq!(here.is_ours("a").await, Ok(true));

    let (bytes, mut second) = there.reopen("a").await.unwrap().unwrap();
    assert!(bytes == [&b"\0\xff\r\n"[..], &long].concat());
    second.append(b"!").await.unwrap();
    assert_eq!((here.is_ours("a").await, there.is_ours("a").await), (Ok(false), Ok(true)));
    is_taken_over(&mut first).await;
    let (bytes, _third) = here.reopen("a").await.unwrap().unwrap();
    assert_eq!(bytes.len(), 4 + long.len() + 1, "the first writer has changed nothing");
    is_taken_over(&mut second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_gone_and_its_earlier_writer_is_told() {
    let Some(server) = RedisServer::start().await else { return };
    let (here, there) = (journals(&server, LONG), journals(&server, LONG));
    let mut first = here.create("a");
    first.append(b"spoken words, and torn").await.unwrap();
    let (_, mut second) = there.reopen("a").await.unwrap().unwrap();
    second.truncate(12).await.unwrap();
    second.append(b".").await.unwrap();
    let (bytes, mut third) = here.reopen("a").await.unwrap().unwrap();
    assert_eq!(bytes, b"spoken words.");
    third.remove().await.unwrap();
    is_taken_over(&mut second).await;
    assert!(there.reopen("a").await.unwrap().is_none());
    let keys = server.type_in("SCAN 0 COUNT 1000");
    let keys: Vec<&str> = keys.lines().filter(|line| line.contains(':')).collect();
    assert_eq!(keys, ["interviewai:live:a:writer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_answered_in_time_is_appended_once() {
    let Some(server) = RedisServer::start().await else { return };
    let here = journals(&server, LONG);
    let mut journal = here.create("a");
    journal.append(b"one ").await.unwrap();
    // Longer than an answer is waited for, and shorter than its second try.
    assert!(server.type_in("CLIENT PAUSE 1200 ALL").starts_with("+OK"));
    journal.append(b"two ").await.unwrap();
    journal.append(b"three").await.unwrap();
    assert_eq!(here.reopen("a").await.unwrap().unwrap().0, b"one two three");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_killed_and_is_back_goes_on_and_one_that_forgot_says_so() {
    let Some(mut server) = RedisServer::start().await else { return };
    let here = journals(&server, LONG);
    let mut journal = here.create("a");
    journal.append(b"before ").await.unwrap();
    server.kill();
    let fault = journal.append(b"lost").await.unwrap_err();
    assert!(matches!(fault, JournalFault::Unavailable(_)), "{fault:?}");
    server.restart().await;
    journal.append(b"after").await.unwrap();
    let (bytes, mut journal) = here.reopen("a").await.unwrap().unwrap();
    assert_eq!(bytes, b"before after");
    assert!(server.type_in("FLUSHALL").starts_with("+OK"));
    let fault = journal.append(b"!").await.unwrap_err();
    assert!(matches!(fault, JournalFault::Unavailable(_)), "another one could not have done that: {fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_runs_out_unless_it_is_written_or_kept() {
    let Some(server) = RedisServer::start().await else { return };
    let here = journals(&server, Duration::from_millis(600));
    let (mut kept, mut left) = (here.create("kept"), here.create("left"));
    kept.append(b"a").await.unwrap();
    left.append(b"a").await.unwrap();
    for _ in 0..4 {
        sleep(Duration::from_millis(200)).await;
        kept.keep().await.unwrap();
    }
    assert!(here.reopen("left").await.unwrap().is_none());
    assert!(here.reopen("kept").await.unwrap().is_some());
}

async fn is_taken_over(journal: &mut RedisJournal) {
    let done =
        [journal.append(b"x").await, journal.truncate(0).await, journal.keep().await, journal.remove().await];
    assert_eq!(done, [const { Err(JournalFault::TakenOver) }; 4]);
}

/// Of a process of its own.
fn journals(server: &RedisServer, kept: Duration) -> RedisJournals {
    RedisJournals::new(RedisConnection::new(&server.url()).unwrap(), kept)
}

const LONG: Duration = Duration::from_secs(60);

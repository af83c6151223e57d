//! The tests that every store passes.

use std::{collections::BTreeSet, sync::Arc};

use control_api::storage::{
    Body, Collection, Cursor, Filter, Increment, Incremented, Index, MAX_DOCUMENT_BYTES, MAX_PAGE_BYTES,
    Migration, Query, Record as _, Schema, Store, StoreError, start,
};
use futures_util::future;
use serde_json::{Map, Value, json};

use super::{Account, Google, Token, ids, model};

pub(crate) async fn records_are_kept_changed_and_deleted(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    let ann = Account::number(1);
    assert_eq!(accounts.get(&ann.id).await, Ok(None));
    accounts.insert(&ann).await.unwrap();
    let mut stored = accounts.get(&ann.id).await.unwrap().unwrap();
    assert_eq!(stored.record, ann);
    stored.record.plan = "elite".to_owned();
    accounts.replace(&mut stored).await.unwrap();
    stored.record.verified = true;
    accounts.replace(&mut stored).await.unwrap();
    assert_eq!(accounts.get(&ann.id).await, Ok(Some(stored.clone())));
    assert_eq!(accounts.delete(&ann.id).await, Ok(true));
    assert_eq!(accounts.delete(&ann.id).await, Ok(false));
    assert_eq!(accounts.get(&ann.id).await, Ok(None));
    assert_eq!(accounts.replace(&mut stored).await, Err(StoreError::NotFound));
    let nobody = accounts.update(&ann.id, |_| Ok::<_, StoreError>(())).await;
    assert_eq!(nobody, Err(StoreError::NotFound));
}

pub(crate) async fn an_old_version_is_refused(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    accounts.insert(&Account::number(1)).await.unwrap();
    let mut first = accounts.get("account-0001").await.unwrap().unwrap();
    let mut second = first.clone();
    first.record.plan = "elite".to_owned();
    accounts.replace(&mut first).await.unwrap();
    second.record.plan = "free".to_owned();
    assert_eq!(accounts.replace(&mut second).await, Err(StoreError::Conflict));
    assert_eq!(accounts.delete_unchanged(&second).await, Ok(false));
    // An increment is a change, too.
    accounts.increment("account-0001", &[Increment::add("used", 1)]).await.unwrap();
    assert_eq!(accounts.replace(&mut first).await, Err(StoreError::Conflict));
    let now = accounts.get("account-0001").await.unwrap().unwrap();
    assert_eq!((now.plan.as_str(), now.used), ("elite", 1));
    assert_eq!(accounts.delete_unchanged(&now).await, Ok(true));
}

pub(crate) async fn unique_fields_are_unique(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    let insert = async |n, change: fn(&mut Account)| {
        let mut account = Account::number(n);
        change(&mut account);
        accounts.insert(&account).await
    };
    let duplicate = |index| Err(StoreError::Duplicate { index });
    insert(1, |_| ()).await.unwrap();
    assert_eq!(insert(1, |account| account.email = None).await, duplicate("id"));
    let taken = |account: &mut Account| account.email = Some("1@example.org".to_owned());
    assert_eq!(insert(2, taken).await, duplicate("email"));
    // What lacks the field is not in the index, however many they are.
    insert(3, |account| account.email = None).await.unwrap();
    insert(4, |account| account.email = None).await.unwrap();
    let google = |account: &mut Account| account.google = Some(Google { subject: "g".to_owned() });
    insert(5, google).await.unwrap();
    assert_eq!(insert(6, google).await, duplicate("google"));
    // A change may meet one as well, and then changes nothing.
    let mut third = accounts.get("account-0003").await.unwrap().unwrap();
    google(&mut third.record);
    assert_eq!(accounts.replace(&mut third).await, duplicate("google"));
    assert_eq!(accounts.get("account-0003").await.unwrap().unwrap().google, None);
    // Who is deleted gives the e-mail back, and cannot return when it was taken.
    let mut first = accounts.get("account-0001").await.unwrap().unwrap();
    first.record.deleted_at = Some(9);
    accounts.replace(&mut first).await.unwrap();
    insert(7, taken).await.unwrap();
    first.record.deleted_at = None;
    assert_eq!(accounts.replace(&mut first).await, duplicate("email"));
    let said = duplicate("email").map(|()| String::new()).unwrap_err();
    assert!(!format!("{said} {said:?}").contains("example"));
}

pub(crate) async fn documents_come_back_as_they_were(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    let mut account = Account::number(1);
    let more = json!({
        "$date": {"$oid": "507f1f77bcf86cd799439011"}, "a.b": null, "": [[], {}, null, true],
        "numbers": [0, 1, -1, i64::MAX, i64::MIN, 1.0, -0.5, 1e300, 0.1],
        "texts": ["", "ä\u{0}\u{1f3a4}\"\\", "\u{feff}", "'); DROP TABLE accounts; --"],
        "large": "x".repeat(900_000),
        "deep": (0..45).fold(json!("bottom"), |inner, _| json!([inner])),
    });
    let Value::Object(more) = more else { panic!("an object") };
    account.more = more;
    accounts.insert(&account).await.unwrap();
    assert!(accounts.get(&account.id).await.unwrap().unwrap().record == account);
    // Counting leaves the rest as it is.
    accounts.increment(&account.id, &[Increment::add("minutes.live", i64::MAX)]).await.unwrap();
    account.minutes.live = i64::MAX;
    let mut stored = accounts.get(&account.id).await.unwrap().unwrap();
    assert!(stored.record == account);
    accounts.replace(&mut stored).await.unwrap();
    assert!(accounts.get(&account.id).await.unwrap().unwrap().record == account);
}

pub(crate) async fn filters_find_what_they_say(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    for n in 0..10 {
        let mut account = Account::number(n);
        account.deleted_at = (n == 4 || n == 5).then_some(n * 100);
        account.verified = n == 3;
        accounts.insert(&account).await.unwrap();
    }
    let check = async |filter: Filter, expected: &[i64]| {
        let expected = expected.iter().map(|n| format!("account-{n:04}")).collect::<Vec<_>>();
        assert_eq!(ids(&accounts, filter.clone()).await, expected, "{filter:?}");
        assert_eq!(accounts.count(&filter).await, Ok(expected.len() as u64), "{filter:?}");
    };
    let all = Filter::all;
    check(all(), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    check(all().eq("plan", "pro"), &[1, 3, 5, 7, 9]).await;
    check(all().eq("plan", "pro").without("deleted_at"), &[1, 3, 7, 9]).await;
    check(all().eq("plan", "pro").eq("verified", true), &[3]).await;
    check(all().eq("plan", "pro").eq("verified", false).without("deleted_at"), &[1, 7, 9]).await;
    check(all().within("created_at", 2i64..5), &[2, 3, 4]).await;
    check(all().within("created_at", 2i64..=5), &[2, 3, 4, 5]).await;
    check(all().within("created_at", ..2i64), &[0, 1]).await;
    check(all().within("created_at", 8i64..), &[8, 9]).await;
    check(all().within::<i64>("created_at", ..).eq("plan", "free"), &[0, 2, 4, 6, 8]).await;
    check(all().within("deleted_at", 401i64..), &[5]).await;
    check(all().within("plan", "free".to_owned().."pro".to_owned()), &[0, 2, 4, 6, 8]).await;
    check(all().one_of("created_at", [3i64, 7, 77]), &[3, 7]).await;
    check(all().one_of::<i64>("created_at", []), &[]).await;
    check(all().eq("plan", "free").one_of("id", ["account-0004", "account-0005"]), &[4]).await;
    check(all().eq("email", "7@example.org").without("deleted_at"), &[7]).await;
    check(all().eq("email", "4@example.org").without("deleted_at"), &[]).await;
    check(all().eq("google.subject", "g"), &[]).await;
    check(all().eq("plan", "' OR 1 = 1 --"), &[]).await;

    let one =
        accounts.find_one(all().eq("email", "7@example.org").without("deleted_at")).await.unwrap().unwrap();
    assert_eq!(one.id, "account-0007");
    let some = all().eq("plan", "free").within("created_at", ..6i64);
    assert_eq!(accounts.delete_many(&some).await, Ok(3));
    assert_eq!(accounts.delete_many(&some).await, Ok(0));
    check(all(), &[1, 3, 5, 6, 7, 8, 9]).await;
}

pub(crate) async fn pages_follow_the_order(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    for n in 0..25 {
        // In ties, and out of the order of ids.
        let mut account = Account::number(n);
        account.created_at = n * 7 % 5;
        account.deleted_at = (n % 3 == 0).then_some(n);
        accounts.insert(&account).await.unwrap();
    }
    let all = ids(&accounts, Filter::all()).await;
    let mut by_time = all.iter().map(|id| id[8..].parse::<i64>().unwrap()).collect::<Vec<_>>();
    by_time.sort_by_key(|n| (n * 7 % 5, *n));
    let by_time = by_time.into_iter().map(|n| format!("account-{n:04}")).collect::<Vec<_>>();
    for limit in [1, 4, 5, 24, 25, 26] {
        for (query, expected) in
            [(Query::new(Filter::all()), &all), (Query::new(Filter::all()).order("created_at"), &by_time)]
        {
            assert_eq!(&walk(&accounts, query.clone().limit(limit)).await, expected);
            let backwards = expected.iter().rev().cloned().collect::<Vec<_>>();
            assert_eq!(walk(&accounts, query.descending().limit(limit)).await, backwards);
        }
    }
    let of_plan = Query::new(Filter::all().eq("plan", "pro").within("created_at", 1i64..4))
        .order("created_at")
        .limit(3);
    let expected = by_time.iter().filter(|id| {
        let n = id[8..].parse::<i64>().unwrap();
        n % 2 == 1 && (1..4).contains(&(n * 7 % 5))
    });
    assert_eq!(walk(&accounts, of_plan).await, expected.cloned().collect::<Vec<_>>());
    // Who lacks the field is not found.
    let deleted = Query::new(Filter::all()).order("deleted_at").descending().limit(4);
    let expected = (0..25).rev().filter(|n| n % 3 == 0).map(|n| format!("account-{n:04}"));
    assert_eq!(walk(&accounts, deleted).await, expected.collect::<Vec<_>>());
    // A cursor of another order.
    let first = accounts.find(&Query::new(Filter::all()).limit(1)).await.unwrap();
    let mixed = Query::new(Filter::all()).order("created_at").after(first.next);
    assert!(matches!(accounts.find(&mixed).await, Err(StoreError::Invalid(_))));
}

pub(crate) async fn pages_of_large_documents_are_small(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    for n in 0..10 {
        let mut account = Account::number(n);
        account.more = Map::from_iter([("large".to_owned(), "x".repeat(MAX_DOCUMENT_BYTES - 1000).into())]);
        accounts.insert(&account).await.unwrap();
    }
    let page = accounts.find(&Query::new(Filter::all())).await.unwrap();
    assert!(page.records.len() <= MAX_PAGE_BYTES / (MAX_DOCUMENT_BYTES - 1000), "{}", page.records.len());
    assert_eq!(walk(&accounts, Query::new(Filter::all())).await.len(), 10);
    assert_eq!(accounts.delete_many(&Filter::all()).await, Ok(10));
}

pub(crate) async fn pages_stay_true_while_others_insert(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    let at_first = (0..60).map(|n| Account::number(n * 10)).collect::<Vec<_>>();
    future::try_join_all(at_first.iter().map(|account| accounts.insert(account))).await.unwrap();
    let writer = tokio::spawn({
        let accounts = accounts.clone();
        async move {
            // All over the order, and deleting the last read page's end as well.
            for n in (0..600).filter(|n| n % 10 != 0).map(|n| n * 7 % 600).filter(|n| n % 10 != 0) {
                accounts.insert(&Account::number(n)).await.unwrap();
                if n % 5 == 0 {
                    accounts.delete(&Account::number(n).id).await.unwrap();
                }
            }
        }
    });
    let mut walks = 0;
    while walks < 3 || !writer.is_finished() {
        let found =
            walk(&accounts, Query::new(Filter::all()).order("created_at").descending().limit(7)).await;
        let distinct = found.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(distinct.len(), found.len(), "nothing is found twice");
        assert!(found.windows(2).all(|pair| pair[0] > pair[1]), "the order holds");
        assert!(at_first.iter().all(|account| distinct.contains(&account.id)), "nothing is left out");
        walks += 1;
    }
    writer.await.unwrap();
}

pub(crate) async fn one_of_many_inserts_succeeds(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    let same_email = |n| {
        let account = Account { email: Some("ann@example.org".to_owned()), ..Account::number(n) };
        let accounts = accounts.clone();
        tokio::spawn(async move { accounts.insert(&account).await })
    };
    assert_eq!(tally(future::join_all((0..50).map(same_email)).await, "email"), 1);
    let same_id = |n: i64| {
        let account = Account { id: "same".to_owned(), ..Account::number(n + 100) };
        let accounts = accounts.clone();
        tokio::spawn(async move { accounts.insert(&account).await })
    };
    assert_eq!(tally(future::join_all((0..50).map(same_id)).await, "id"), 1);
    assert_eq!(accounts.count(&Filter::all()).await, Ok(2));
}

pub(crate) async fn as_many_increments_succeed_as_fit(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    accounts.insert(&Account::number(1)).await.unwrap();
    let count = async |by: &[Increment]| accounts.increment("account-0001", by).await;
    let many = (0..50).map(|_| {
        let accounts = accounts.clone();
        tokio::spawn(async move {
            let both = [Increment::add("minutes.live", 2), Increment::add("used", 1).up_to(Some(5))];
            match accounts.increment("account-0001", &both).await.unwrap() {
                Incremented::Done(_) => true,
                Incremented::Refused { field, stored } => {
                    assert_eq!((field, stored.used), ("used", 5));
                    false
                }
            }
        })
    });
    let done = future::join_all(many).await.into_iter().filter(|done| *done.as_ref().unwrap()).count();
    assert_eq!(done, 5);
    let now = accounts.get("account-0001").await.unwrap().unwrap();
    // All or none: what was refused did not count in the other field.
    assert_eq!((now.used, now.minutes.live), (5, 10));
    // Unlimited is no number.
    assert!(
        matches!(count(&[Increment::add("used", 100).up_to(None)]).await, Ok(Incremented::Done(now)) if now.used == 105)
    );
    // What is over a smaller plan's bound can be given back, down to nothing.
    let back = |by| [Increment::add("used", by).up_to(Some(5)).down_to(Some(0))];
    assert!(matches!(count(&back(-100)).await, Ok(Incremented::Done(now)) if now.used == 5));
    assert!(matches!(count(&back(-6)).await, Ok(Incremented::Refused { field: "used", .. })));
    assert!(matches!(count(&back(-5)).await, Ok(Incremented::Done(now)) if now.used == 0));
    // Sums are those of i64.
    assert!(matches!(count(&[Increment::add("used", i64::MAX)]).await, Ok(Incremented::Done(_))));
    assert!(matches!(count(&[Increment::add("used", 1)]).await, Ok(Incremented::Refused { .. })));
    // What is not there counts as nothing; what is no integer is not counted.
    assert!(matches!(
        count(&[Increment::add("more.a.b", 1).up_to(Some(0))]).await,
        Ok(Incremented::Refused { .. })
    ));
    assert!(
        matches!(count(&[Increment::add("more.a.b", 1)]).await, Ok(Incremented::Done(now)) if now.more["a"]["b"] == 1)
    );
    for field in ["google", "id.x", "more.a.b.c"] {
        assert!(matches!(count(&[Increment::add(field, 1)]).await, Err(StoreError::Invalid(_))), "{field}");
    }
    assert_eq!(accounts.increment("nobody", &[Increment::add("used", 1)]).await, Err(StoreError::NotFound));
}

pub(crate) async fn a_quota_begins_with_its_first_use(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    let many = (0..50).map(|_| {
        let accounts = accounts.clone();
        tokio::spawn(async move {
            let one = [Increment::add("used", 1).up_to(Some(5))];
            let done = accounts.increment_or_begin(&Account::number(1), &one).await.unwrap();
            matches!(done, Incremented::Done(_))
        })
    });
    let done = future::join_all(many).await.into_iter().filter(|done| *done.as_ref().unwrap()).count();
    assert_eq!(done, 5);
    assert_eq!(accounts.get("account-0001").await.unwrap().unwrap().used, 5);
}

pub(crate) async fn one_of_many_replacements_succeeds(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    accounts.insert(&Account::number(1)).await.unwrap();
    let read = accounts.get("account-0001").await.unwrap().unwrap();
    let many = (1..=50).map(|n| {
        let (accounts, mut stored) = (accounts.clone(), read.clone());
        stored.record.used = n;
        tokio::spawn(async move { accounts.replace(&mut stored).await })
    });
    let done = future::join_all(many).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
    assert_eq!(done.iter().filter(|done| **done == Err(StoreError::Conflict)).count(), 49);
    // Those that come again all get through.
    let before = accounts.get("account-0001").await.unwrap().unwrap().used;
    let again = (0..8).map(|_| {
        let accounts = accounts.clone();
        tokio::spawn(async move {
            accounts
                .update("account-0001", |account| {
                    account.used += 1;
                    Ok::<_, StoreError>(())
                })
                .await
        })
    });
    future::join_all(again).await.into_iter().for_each(|done| drop(done.unwrap().unwrap()));
    assert_eq!(accounts.get("account-0001").await.unwrap().unwrap().used, before + 8);
}

pub(crate) async fn what_works_once_works_once(store: Arc<dyn Store>) {
    let tokens = Collection::<Token>::new(store);
    tokens.insert(&Token { id: "t".to_owned(), expires_at: None }).await.unwrap();
    let stored = tokens.get("t").await.unwrap().unwrap();
    let many = (0..50).map(|_| {
        let (tokens, stored) = (tokens.clone(), stored.clone());
        tokio::spawn(async move { tokens.delete_unchanged(&stored).await.unwrap() })
    });
    let used = future::join_all(many).await.into_iter().filter(|used| *used.as_ref().unwrap()).count();
    assert_eq!(used, 1);
}

pub(crate) async fn what_runs_out_is_swept(store: Arc<dyn Store>) {
    let tokens = Collection::<Token>::new(Arc::clone(&store));
    // Far ahead, as stores sweep by themselves, too.
    let now = 4_000_000_000_000;
    for (id, expires_at) in
        [("gone", Some(now - 1)), ("just", Some(now)), ("later", Some(now + 1)), ("stays", None)]
    {
        tokens.insert(&Token { id: id.to_owned(), expires_at }).await.unwrap();
    }
    // The time may be changed, and taken away.
    let mut kept = tokens.get("gone").await.unwrap().unwrap();
    assert_eq!(store.sweep(now - 1).await, Ok(0));
    kept.record.expires_at = Some(now - 2);
    tokens.replace(&mut kept).await.unwrap();
    assert_eq!(store.sweep(now - 1).await, Ok(1));
    let mut later = tokens.get("later").await.unwrap().unwrap();
    later.record.expires_at = None;
    tokens.replace(&mut later).await.unwrap();
    assert_eq!(store.sweep(now + 10).await, Ok(1));
    assert_eq!(tokens.count(&Filter::all()).await, Ok(2));
    assert!(tokens.get("stays").await.unwrap().is_some() && tokens.get("later").await.unwrap().is_some());
}

pub(crate) async fn indexes_follow_their_declaration(store: Arc<dyn Store>) {
    static BEFORE: Schema = Schema { collection: "things", indexes: &[Index::on("name", &["name"])] };
    static UNIQUE: Schema =
        Schema { collection: "things", indexes: &[Index::on("name", &["name"]).unique()] };
    static WITHOUT: Schema = Schema { collection: "things", indexes: &[] };
    let body = || Body::from_iter([("name".to_owned(), json!("n"))]);
    let duplicate = StoreError::Duplicate { index: "name" };
    start(&*store, &[&BEFORE], &[]).await.unwrap();
    for id in ["a", "b"] {
        store.insert(&BEFORE, id, body()).await.unwrap();
    }
    // Two are in the way; then nothing is lost, and it works when one is gone.
    assert_eq!(start(&*store, &[&UNIQUE], &[]).await, Err(duplicate.clone()));
    assert_eq!(store.count(&BEFORE, &Filter::all().eq("name", "n")).await, Ok(2));
    store.delete(&BEFORE, "b", None).await.unwrap();
    for _ in 0..2 {
        start(&*store, &[&UNIQUE], &[]).await.unwrap();
        assert_eq!(store.insert(&UNIQUE, "c", body()).await, Err(duplicate.clone()));
    }
    start(&*store, &[&WITHOUT], &[]).await.unwrap();
    store.insert(&WITHOUT, "c", body()).await.unwrap();
}

pub(crate) async fn migrations_run_once_and_in_order(store: Arc<dyn Store>) {
    // Years become months; names that are missing are made from ids of old ones.
    fn months(body: &mut Body) -> Result<bool, &'static str> {
        let Some(years) = body.remove("years") else { return Ok(false) };
        body.insert("months".to_owned(), json!(years.as_i64().ok_or("years are no integer")? * 12));
        Ok(true)
    }
    fn long(body: &mut Body) -> Result<bool, &'static str> {
        let long = body.get("months").and_then(Value::as_i64).ok_or("no months")? > 24;
        Ok(body.insert("long".to_owned(), json!(long)) != Some(json!(long)))
    }
    static THINGS: Schema = Schema { collection: "things", indexes: &[Index::on("long", &["long"])] };
    let migration = |number, change| Migration { number, schema: &THINGS, change };
    let both = [migration(1, months), migration(2, long)];
    start(&*store, &[&THINGS], &[]).await.unwrap();
    // More than a page of them.
    let inserts = (0..450).map(|n| {
        let body = Body::from_iter([("years".to_owned(), json!(n % 4))]);
        let store = Arc::clone(&store);
        async move { store.insert(&THINGS, &format!("{n:03}"), body).await }
    });
    future::try_join_all(inserts).await.unwrap();
    // Two nodes at once.
    let things: [&Schema; 1] = [&THINGS];
    let (one, other) = tokio::join!(start(&*store, &things, &both), start(&*store, &things, &both));
    assert_eq!((one, other), (Ok(()), Ok(())));
    let longs = store.count(&THINGS, &Filter::all().eq("long", true)).await;
    assert_eq!(longs, Ok(112));
    // They are done: what they would refuse now is not looked at.
    store.insert(&THINGS, "new", Body::from_iter([("years".to_owned(), json!("many"))])).await.unwrap();
    start(&*store, &[&THINGS], &both).await.unwrap();
    // An older program, and mistakes.
    assert!(matches!(start(&*store, &[&THINGS], &both[..1]).await, Err(StoreError::Corrupt(_))));
    assert!(matches!(start(&*store, &[&THINGS], &[migration(2, long)]).await, Err(StoreError::Invalid(_))));
    let third = [both[0], both[1], migration(3, months)];
    assert_eq!(start(&*store, &[&THINGS], &third).await, Err(StoreError::Corrupt("years are no integer")));
}

pub(crate) async fn what_breaks_a_bound_is_refused(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(Arc::clone(&store));
    let invalid =
        |done: Result<(), StoreError>| assert!(matches!(done, Err(StoreError::Invalid(_))), "{done:?}");
    let large = Map::from_iter([("x".to_owned(), json!("x".repeat(MAX_DOCUMENT_BYTES)))]);
    invalid(accounts.insert(&Account { more: large, ..Account::number(1) }).await);
    invalid(accounts.insert(&Account { id: String::new(), ..Account::number(1) }).await);
    invalid(accounts.insert(&Account { email: Some("\0".to_owned()), ..Account::number(1) }).await);
    invalid(accounts.get(&"x".repeat(201)).await.map(drop));
    invalid(accounts.count(&Filter::all().eq("used", 1i64)).await.map(drop));
    invalid(accounts.delete_many(&Filter::all().without("email")).await.map(drop));
    invalid(accounts.find(&Query::new(Filter::all()).limit(201)).await.map(drop));
    invalid(accounts.find(&Query::new(Filter::all()).order("used")).await.map(drop));
    invalid(accounts.increment("x", &[]).await.map(drop));
    invalid(accounts.increment("x", &[Increment::add("created_at", 1)]).await.map(drop));
    assert_eq!(accounts.count(&Filter::all()).await, Ok(0));
    // A record of another shape is told, without its content.
    let body = Body::from_iter([("plan".to_owned(), json!({"canary": 1}))]);
    invalid(store.insert(Account::SCHEMA, "odd", body).await);
    store
        .insert(Account::SCHEMA, "odd", Body::from_iter([("canary".to_owned(), json!("canary"))]))
        .await
        .unwrap();
    assert_eq!(accounts.get("odd").await, Err(StoreError::Corrupt("accounts")));
}

pub(crate) async fn it_agrees_with_a_model(store: Arc<dyn Store>) {
    model::check(store).await;
}

/// Every id that the query finds, page after page, through the cursors' text.
async fn walk(accounts: &Collection<Account>, mut query: Query) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let page = accounts.find(&query).await.unwrap();
        found.extend(page.records.into_iter().map(|stored| stored.record.id));
        let Some(next) = page.next else { return found };
        query = query.after(Some(next.to_string().parse::<Cursor>().unwrap()));
    }
}

/// How many succeeded; the others met `index`.
fn tally(done: Vec<Result<Result<(), StoreError>, tokio::task::JoinError>>, index: &'static str) -> usize {
    let done = done.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    let refused = done.iter().filter(|done| **done == Err(StoreError::Duplicate { index })).count();
    let succeeded = done.iter().filter(|done| done.is_ok()).count();
    assert_eq!(succeeded + refused, done.len(), "{done:?}");
    succeeded
}

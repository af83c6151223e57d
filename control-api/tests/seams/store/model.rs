//! A store and a map in memory do the same under random operations.

use std::{collections::BTreeMap, sync::Arc};

use control_api::storage::{Collection, Filter, Increment, Incremented, Query, Store, StoreError};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::{runtime::Handle, task};

use super::Account;

/// Must run on a runtime with several threads.
pub(crate) async fn check(store: Arc<dyn Store>) {
    let accounts = Collection::<Account>::new(store);
    let config = Config { cases: 64, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let run = || {
        TestRunner::new(config).run(&vec(operation(), 1..60), |operations| {
            Handle::current().block_on(async {
                accounts.delete_many(&Filter::all()).await.map_err(fail)?;
                let mut model = Model::default();
                for operation in operations {
                    model.both(&accounts, operation).await?;
                }
                Ok(())
            })
        })
    };
    task::block_in_place(run).unwrap();
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(Account),
    /// Of the version that it has, or of one long past.
    Replace(Account, bool),
    Increment {
        id: String,
        by: i64,
        most: Option<i64>,
        least: Option<i64>,
    },
    Delete {
        id: String,
        of: Option<bool>,
    },
    DeleteMany {
        plan: String,
    },
    Walk {
        plan: Option<String>,
        by_time: bool,
        descending: bool,
        limit: usize,
    },
    Count {
        from: i64,
        to: i64,
        deleted: bool,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let id = || (0..6).prop_map(|id| format!("id-{id}"));
    let plan = || prop_oneof![Just("free".to_owned()), Just("pro".to_owned())];
    let account = || {
        let fields = (id(), option::of(0..4), plan(), 0..4i64, option::weighted(0.3, 0..4i64));
        fields.prop_map(|(id, email, plan, created_at, deleted_at)| Account {
            id,
            email: email.map(|email| format!("{email}@example.org")),
            plan,
            deleted_at,
            ..Account::number(created_at)
        })
    };
    prop_oneof![
        4 => account().prop_map(Operation::Insert),
        3 => (account(), any::<bool>()).prop_map(|(account, right)| Operation::Replace(account, right)),
        3 => (id(), -3..4i64, option::of(0..5i64), option::of(-3..2i64))
            .prop_map(|(id, by, most, least)| Operation::Increment { id, by, most, least }),
        2 => (id(), option::of(any::<bool>())).prop_map(|(id, of)| Operation::Delete { id, of }),
        1 => plan().prop_map(|plan| Operation::DeleteMany { plan }),
        3 => (option::of(plan()), any::<bool>(), any::<bool>(), 1..4usize)
            .prop_map(|(plan, by_time, descending, limit)| Operation::Walk { plan, by_time, descending, limit }),
        1 => (0..4i64, 0..4i64, any::<bool>()).prop_map(|(from, to, deleted)| Operation::Count { from, to, deleted }),
    ]
}

#[derive(Default)]
struct Model(BTreeMap<String, Account>);

impl Model {
    async fn both(
        &mut self,
        accounts: &Collection<Account>,
        operation: Operation,
    ) -> Result<(), TestCaseError> {
        match operation {
            Operation::Insert(account) => {
                let done = accounts.insert(&account).await;
                let (id, email) = (self.0.contains_key(&account.id), self.email_taken(&account));
                match done {
                    Ok(()) => {
                        prop_assert!(!id && !email);
                        self.0.insert(account.id.clone(), account);
                    }
                    Err(StoreError::Duplicate { index: "id" }) => prop_assert!(id),
                    Err(StoreError::Duplicate { index: "email" }) => prop_assert!(email && !id),
                    Err(error) => return Err(fail(error)),
                }
            }
            Operation::Replace(account, right) => {
                let Some(mut stored) = accounts.get(&account.id).await.map_err(fail)? else {
                    prop_assert!(!self.0.contains_key(&account.id));
                    return Ok(());
                };
                let mut old = stored.clone();
                if !right {
                    // By being read before a change, this version is past.
                    accounts.replace(&mut stored).await.map_err(fail)?;
                    prop_assert_eq!(accounts.replace(&mut old).await, Err(StoreError::Conflict));
                    return Ok(());
                }
                let taken = self.email_taken(&account);
                stored.record = account.clone();
                match accounts.replace(&mut stored).await {
                    Ok(()) => {
                        prop_assert!(!taken);
                        self.0.insert(account.id.clone(), account);
                    }
                    Err(StoreError::Duplicate { index: "email" }) => prop_assert!(taken),
                    Err(error) => return Err(fail(error)),
                }
            }
            Operation::Increment { id, by, most, least } => {
                let increment = [Increment::add("used", by).up_to(most).down_to(least)];
                let done = accounts.increment(&id, &increment).await;
                let Some(account) = self.0.get_mut(&id) else {
                    prop_assert_eq!(done, Err(StoreError::NotFound));
                    return Ok(());
                };
                let sum = account.used + by;
                let over = by > 0 && most.is_some_and(|most| sum > most);
                let under = by < 0 && least.is_some_and(|least| sum < least);
                if !over && !under {
                    account.used = sum;
                }
                match done.map_err(fail)? {
                    Incremented::Done(now) => prop_assert!(!over && !under && now.record == *account),
                    Incremented::Refused { stored, .. } => {
                        prop_assert!((over || under) && stored.record == *account);
                    }
                }
            }
            Operation::Delete { id, of } => {
                let stored = accounts.get(&id).await.map_err(fail)?;
                let there = self.0.contains_key(&id);
                prop_assert_eq!(stored.is_some(), there);
                let done = match (of, stored) {
                    (Some(right), Some(stored)) => {
                        let mut now = stored.clone();
                        if !right {
                            accounts.replace(&mut now).await.map_err(fail)?;
                        }
                        let done = accounts.delete_unchanged(&stored).await.map_err(fail)?;
                        prop_assert_eq!(done, right);
                        done
                    }
                    _ => {
                        let done = accounts.delete(&id).await.map_err(fail)?;
                        prop_assert_eq!(done, there);
                        done
                    }
                };
                if done {
                    self.0.remove(&id);
                }
            }
            Operation::DeleteMany { plan } => {
                let before = self.0.len();
                self.0.retain(|_, account| account.plan != plan);
                let done = accounts.delete_many(&Filter::all().eq("plan", plan)).await;
                prop_assert_eq!(done, Ok((before - self.0.len()) as u64));
            }
            Operation::Walk { plan, by_time, descending, limit } => {
                let mut expected = self
                    .0
                    .values()
                    .filter(|account| plan.as_ref().is_none_or(|plan| account.plan == *plan))
                    .cloned()
                    .collect::<Vec<_>>();
                if by_time {
                    expected.sort_by_key(|account| account.created_at);
                }
                if descending {
                    expected.reverse();
                }
                let filter = plan.map_or(Filter::all(), |plan| Filter::all().eq("plan", plan));
                let mut query = Query::new(filter).limit(limit);
                query = if by_time { query.order("created_at") } else { query };
                query = if descending { query.descending() } else { query };
                let mut found = Vec::new();
                loop {
                    let page = accounts.find(&query).await.map_err(fail)?;
                    prop_assert!(page.records.len() <= limit);
                    found.extend(page.records.into_iter().map(|stored| stored.record));
                    if page.next.is_none() {
                        break;
                    }
                    query = query.after(page.next);
                }
                prop_assert_eq!(found, expected);
            }
            Operation::Count { from, to, deleted } => {
                let fits = |account: &&Account| {
                    (from..to).contains(&account.created_at) && (deleted || account.deleted_at.is_none())
                };
                let expected = self.0.values().filter(fits).count() as u64;
                let filter = Filter::all().within("created_at", from..to);
                let filter = if deleted { filter } else { filter.without("deleted_at") };
                prop_assert_eq!(accounts.count(&filter).await, Ok(expected));
            }
        }
        Ok(())
    }

    /// Whether another one, that is not deleted, has the e-mail of this one.
    fn email_taken(&self, account: &Account) -> bool {
        let indexed = |account: &Account| account.email.is_some() && account.deleted_at.is_none();
        let same = |other: &Account| other.id != account.id && other.email == account.email && indexed(other);
        indexed(account) && self.0.values().any(same)
    }
}

fn fail(error: StoreError) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

//! Passwords: hashed with argon2id, a few at once, on threads of their own.
//!
//! Hashes of the original design (bcrypt) are checked too, and said to be old. Not here: which passwords are allowed (`form`).

use std::{sync::Arc, thread, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::PasswordHash,
};
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{sync::Semaphore, task};

use crate::Problem;

/// Hashes and checks passwords. Clones share their threads.
#[derive(Clone, Debug)]
pub struct Passwords {
    /// Who hashes now.
    working: Arc<Semaphore>,
    /// Who hashes or waits.
    places: Arc<Semaphore>,
}

/// What was found when a password was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is another one.
    Wrong,
    /// It is this one.
    Right,
    /// It is this one, and its hash should be made anew.
    RightButOld,
}

/// So many wait already that nobody else is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many people log in at this moment; try again")]
pub struct Busy;

impl Passwords {
    /// `at_once` threads, each of which takes 19 MiB and tens of milliseconds for a password; `waiting` more callers wait.
    pub fn new(at_once: usize, waiting: usize) -> Self {
        let at_once = at_once.max(1);
        Self {
            working: Arc::new(Semaphore::new(at_once)),
            places: Arc::new(Semaphore::new(at_once.saturating_add(waiting).min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The hash to be kept, a PHC string.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn hash(&self, password: SecretString) -> Result<String, Busy> {
        self.work(move || {
            let hash = hasher().hash_password(password.expose_secret().as_bytes());
            hash.expect("the parameters are argon2's, and there is randomness").to_string()
        })
        .await
    }

    /// Whether `password` is the one of `hash`. Without a hash it takes as long, and is wrong.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn check(&self, password: SecretString, hash: Option<String>) -> Result<Checked, Busy> {
        self.work(move || {
            let right = check(password.expose_secret(), hash.as_deref().unwrap_or(NOBODY));
            if hash.is_some() { right } else { Checked::Wrong }
        })
        .await
    }

    /// Dropping the future gives up the wait; what has begun ends on its thread, and counts until then.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.working).acquire_owned().await.map_err(|_| Busy)?;
        let working = task::spawn_blocking(move || {
            let done = work();
            drop((turn, place));
            done
        });
        working.await.map_err(|_| Busy)
    }
}

impl Default for Passwords {
    /// A thread for each core, and 64 who wait for each of them.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores, cores.saturating_mul(WAITING))
    }
}

impl From<Busy> for Problem {
    fn from(busy: Busy) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, busy.to_string()).retry_after(RETRY_AFTER)
    }
}

fn check(password: &str, hash: &str) -> Checked {
    if ["$2a$", "$2b$", "$2y$"].iter().any(|bcrypt| hash.starts_with(bcrypt)) {
        let right = bcrypt::verify(password, hash).unwrap_or(false);
        return if right { Checked::RightButOld } else { Checked::Wrong };
    }
    let Ok(kept) = PasswordHash::new(hash) else { return Checked::Wrong };
    if hasher().verify_password(password.as_bytes(), &kept).is_err() {
        return Checked::Wrong;
    }
    if hash.starts_with(PARAMETERS) { Checked::Right } else { Checked::RightButOld }
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("they are within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// 19 MiB, 2 passes, 1 lane: OWASP Password Storage Cheat Sheet.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How a hash with these begins.
const PARAMETERS: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// The hash of no password, checked where there is no account, so that it takes as long.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// For each thread: some 2 s of waiting.
const WAITING: usize = 64;
const RETRY_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(password: &str, hash: Option<&str>) -> Checked {
        let passwords = Passwords::default();
        passwords.check(password.into(), hash.map(str::to_owned)).await.unwrap()
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let hash = Passwords::default().hash("Correct-horse-1".into()).await.unwrap();
        assert!(hash.starts_with(PARAMETERS), "{hash}");
        assert_eq!(found("Correct-horse-1", Some(&hash)).await, Checked::Right);
        assert_eq!(found("Correct-horse-2", Some(&hash)).await, Checked::Wrong);
        assert_eq!(found("", None).await, Checked::Wrong);
        assert_eq!(found("x", Some("no hash")).await, Checked::Wrong);
        assert!(PasswordHash::new(NOBODY).is_ok(), "it is checked, not refused");
    }

    #[tokio::test]
    async fn bcrypt_and_weaker_argon2_are_right_but_old() {
        for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
            let hash = bcrypt::hash_with_result("Correct-horse-1", 4).unwrap().format_for_version(version);
            assert_eq!(found("Correct-horse-1", Some(&hash)).await, Checked::RightButOld);
            assert_eq!(found("Correct-horse-2", Some(&hash)).await, Checked::Wrong);
        }
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
        let hash = weak.hash_password(b"Correct-horse-1").unwrap().to_string();
        assert_eq!(found("Correct-horse-1", Some(&hash)).await, Checked::RightButOld);
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_told_so() {
        let passwords = Passwords::new(1, 1);
        let together = (0..8).map(|_| passwords.check("x".into(), None));
        let found = futures_util::future::join_all(together).await;
        assert_eq!(found.iter().filter(|found| found.is_ok()).count(), 2, "one works, one waits");
        assert!(passwords.check("x".into(), None).await.is_ok(), "there is room again");
    }
}

//! How often one address may knock, and how many may stand in the door at once: both before anything else is done for them.
//!
//! Not here: who they are (`ports::Authorizer`), what they are told (`server`).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::config::SessionLimits;

/// Counts connections from the first packet to the end of the handshake.
#[derive(Debug)]
pub(super) struct Entrance {
    places: Arc<Semaphore>,
    /// Between two handshakes of one address in the long run; none is no limit.
    every: Option<Duration>,
    knocks: Mutex<HashMap<IpAddr, Instant>>,
}

/// A place in the door; dropping it makes room.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// The address knocks too often: when it may again.
    pub(super) retry_after: Option<Duration>,
}

impl Entrance {
    pub(super) fn new(limits: &SessionLimits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.max_handshakes)),
            every: MINUTE.checked_div(limits.handshakes_per_minute),
            knocks: Mutex::default(),
        }
    }

    /// A place for a connection from `address`; none when all are taken.
    pub(super) fn place(&self, address: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { _permit: permit, retry_after: self.knock(household(address), Instant::now()).err() })
    }

    /// Counts a handshake of `address`, or says when the next one will be taken.
    ///
    /// The generic cell rate algorithm: an address is remembered by the instant at which it will have paid for all it had, a
    /// minute ahead at most. What is refused costs nothing.
    fn knock(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let Some(every) = self.every else { return Ok(()) };
        let mut knocks = self.knocks.lock().unwrap_or_else(PoisonError::into_inner);
        if knocks.len() >= MAX_ADDRESSES && !knocks.contains_key(&address) {
            knocks.retain(|_, paid| *paid > now);
            if knocks.len() >= MAX_ADDRESSES {
                // So many at once are no household: the places bound them, and a fresh start is better than turning all away.
                metrics::counter!("handshake_addresses_forgotten_total").increment(knocks.len() as u64);
                knocks.clear();
            }
        }
        let paid = knocks.entry(address).or_insert(now);
        let next = (*paid).max(now) + every;
        match (next - now).checked_sub(MINUTE) {
            Some(early) if !early.is_zero() => Err(early),
            _ => {
                *paid = next;
                Ok(())
            }
        }
    }
}

/// Whom an address stands for: of IPv6, the network of 64 bits that one customer has.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Remembered at once: 1.5 MiB.
const MAX_ADDRESSES: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn entrance(handshakes_per_minute: u32, max_handshakes: usize) -> Entrance {
        Entrance::new(&SessionLimits { handshakes_per_minute, max_handshakes, ..SessionLimits::default() })
    }

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from(n).into()
    }

    #[test]
    fn a_minutes_worth_at_once_then_one_at_a_time() {
        let (entrance, now) = (entrance(60, 1), Instant::now());
        let second = Duration::from_secs(1);
        assert!((0..60).all(|_| entrance.knock(address(1), now).is_ok()));
        assert_eq!(entrance.knock(address(1), now), Err(second));
        assert_eq!(entrance.knock(address(1), now), Err(second), "what is refused costs nothing");
        assert_eq!(entrance.knock(address(2), now), Ok(()), "others are not held up");
        assert_eq!(entrance.knock(address(1), now + second), Ok(()));
        assert_eq!(entrance.knock(address(1), now + second), Err(second));
        assert!((0..60).all(|_| entrance.knock(address(1), now + 61 * second).is_ok()));
    }

    #[test]
    fn no_limit_remembers_nobody() {
        let (entrance, now) = (entrance(0, 1), Instant::now());
        assert!((0..10_000).all(|_| entrance.knock(address(1), now).is_ok()));
        assert!(entrance.knocks.lock().unwrap().is_empty());
    }

    #[test]
    fn no_flood_of_addresses_takes_more_memory_or_turns_others_away() {
        let (entrance, now) = (entrance(60, 1), Instant::now());
        for n in 0..100_000 {
            assert_eq!(entrance.knock(address(n), now), Ok(()));
        }
        assert!(entrance.knocks.lock().unwrap().len() <= MAX_ADDRESSES);
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let entrance = entrance(0, 2);
        let (first, _second) = (entrance.place(address(1)), entrance.place(address(2)));
        assert!(entrance.place(address(3)).is_none());
        drop(first);
        assert!(entrance.place(address(3)).is_some());
    }

    #[test]
    fn households() {
        let check = |address: &str, expected: &str| {
            assert_eq!(household(address.parse().unwrap()).to_string(), expected);
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("::1", "::");
    }
}

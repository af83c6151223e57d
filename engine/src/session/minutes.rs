//! The minutes of audio that a session takes from its user's plan, one as each begins.
//!
//! Not here: how many there are (`UsageMeter`).

use std::future::pending;

use futures_util::future::BoxFuture;

use crate::ports::{LimitReached, Principal, UsageMeter};

/// What was asked for, and what is being asked.
#[derive(Default)]
pub(super) struct Minutes {
    asked: u64,
    asking: Option<BoxFuture<'static, Result<(), LimitReached>>>,
}

impl Minutes {
    /// So much was heard, and asked for, in an earlier process.
    pub(super) fn skip(&mut self, heard_ms: u64) {
        self.asked = heard_ms.div_ceil(MINUTE_MS);
    }

    /// Asks for the next minute if it has begun: one at a time.
    pub(super) fn ask(&mut self, meter: &dyn UsageMeter, principal: &Principal, heard_ms: u64) {
        if self.asking.is_none() && heard_ms > self.asked * MINUTE_MS {
            self.asked += 1;
            self.asking = Some(meter.minute(principal));
        }
    }

    /// Why the next minute is not to be had; never ready while there is nothing to say. Cancel-safe.
    pub(super) async fn refused(&mut self) -> LimitReached {
        if let Some(asking) = &mut self.asking {
            let answer = asking.await;
            self.asking = None;
            if let Err(reached) = answer {
                return reached;
            }
        }
        pending().await
    }
}

const MINUTE_MS: u64 = 60_000;

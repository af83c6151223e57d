//! What the mails of accounts say, and the job that sends them.
//!
//! A job holds an id; whether a mail is sent, and to whom, is found out when it runs. The token is made there too, so that none lies
//! in a queue. A job that runs twice sends two mails, whose links both work. Names are not in the mails, as anybody can
//! register any address with any name. Not here: how mail is sent (`mail`).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    one_time::{self, Purpose},
    register::{self, Registration},
    secret,
};
use crate::{
    ApiState, Problem,
    cache::Limit,
    jobs::{Handlers, Job, JobFailure, JobsError, NewJob},
    mail::{Mail, MailError},
    storage::StoreError,
    time::now_ms,
    users::User,
};

/// Which mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Letter {
    /// To who registered: the link, or that there is an account.
    Verify,
    /// To a user who forgot the password.
    Reset,
}

#[derive(Serialize, Deserialize)]
struct Order {
    letter: Letter,
    /// Of a registration or a user; perhaps nobody's.
    id: String,
}

/// Whether another mail may be sent to this address now. Counted alike whether anybody has it.
pub(super) async fn allowed(state: &ApiState, email: &str) -> Result<bool, Problem> {
    let limit = Limit::new(MAILS, WINDOW).expect("it is within the bounds");
    Ok(state.cache.limit(&format!("auth:mail:{}", secret::hash(email)), limit).await?.allowed)
}

/// Queues a mail.
pub(super) async fn queue(state: &ApiState, letter: Letter, id: &str) -> Result<(), JobsError> {
    let order = Order { letter, id: id.to_owned() };
    // Each is asked for anew.
    let key = Uuid::now_v7().to_string();
    state.jobs.enqueue(NewJob::new(KIND, key, order)?).await?;
    Ok(())
}

/// These, and the one that sends the mails.
pub(super) fn job_handlers(handlers: Handlers, state: &ApiState) -> Handlers {
    let state = state.clone();
    handlers.on(KIND, move |job: Job| {
        let state = state.clone();
        async move {
            let order: Order = serde_json::from_value(job.payload)
                .map_err(|_| JobFailure::Fatal("it was queued by another version".to_owned()))?;
            match order.letter {
                Letter::Verify => verify(&state, &order.id).await,
                Letter::Reset => reset(&state, &order.id).await,
            }
        }
    })
}

async fn verify(state: &ApiState, id: &str) -> Result<(), JobFailure> {
    let registrations = state.records::<Registration>();
    let Some(registration) = registrations.get(id).await.map_err(later)? else { return Ok(()) };
    let to = registration.email.clone();
    if register::user_of(state, &to).await.map_err(later)?.is_some() {
        let text = format!(
            "Hello,\n\nsomebody, probably you, registered with this address, which has an account already.\n\
             Log in: {url}/login\n\
             If you forgot the password, set a new one: {url}/forgot-password\n\n\
             If it was not you, there is nothing to do: your account is as it was.\n",
            url = state.settings.public_url
        );
        send(state, to, "You already have an account", text).await?;
        registrations.delete(id).await.map_err(later)?;
        return Ok(());
    }
    let keep = |registration: &mut Registration| {
        registration.expires_at = now_ms() + register::lifetime_ms();
        Ok::<_, StoreError>(())
    };
    registrations.update(id, keep).await.map_err(later)?;
    let token = one_time::issue(state, Purpose::VerifyEmail, id, String::new()).await.map_err(later)?;
    let text = format!(
        "Hello,\n\nopen this link to confirm your address; it works once, for 24 hours:\n\
         {url}/verify-email?token={token}\n\n\
         If you did not register, delete this mail: without the link there will be no account.\n",
        url = state.settings.public_url
    );
    send(state, to, "Confirm your address", text).await
}

async fn reset(state: &ApiState, id: &str) -> Result<(), JobFailure> {
    let user = state.records::<User>().get(id).await.map_err(later)?;
    let Some(user) = user.filter(|user| user.deleted_at.is_none()) else { return Ok(()) };
    let token = one_time::issue(state, Purpose::ResetPassword, id, stamp(&user)).await.map_err(later)?;
    let text = format!(
        "Hello,\n\nopen this link to set a new password; it works once, for an hour:\n\
         {url}/reset-password?token={token}\n\n\
         If you did not ask for it, delete this mail: your password is as it was.\n",
        url = state.settings.public_url
    );
    send(state, user.record.email, "Set a new password", text).await
}

/// The password that a link was asked for: when it is another one, the link is of no use any more.
pub(super) fn stamp(user: &User) -> String {
    secret::hash(user.password_hash.as_deref().unwrap_or_default())
}

async fn send(state: &ApiState, to: String, subject: &str, text: String) -> Result<(), JobFailure> {
    state.mailer.send(Mail { to, subject: subject.to_owned(), text }).await.map_err(|error| match error {
        MailError::Unavailable(_) => JobFailure::Retry(error.to_string()),
        MailError::Refused(_) => JobFailure::Fatal(error.to_string()),
    })
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn later(error: StoreError) -> JobFailure {
    JobFailure::Retry(error.to_string())
}

const KIND: &str = "account_mail";
/// To one address, whoever asks: enough for who does not find the first.
const MAILS: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60 * 60);

//! Who the candidate is: profile, CV and preferences of the account, the interview's job.
//!
//! Not here: how answers use it (`engine`).

use std::sync::Arc;

use control_api::{
    ApiState,
    auth::Login,
    interviews::Interview,
    storage::StoreError,
    users::{AnswerLength, AnswerStyle, Cv, Preferences, User},
};
use engine::ports::{Access, CandidateContext, ContextError, ContextProvider};
use futures_util::future::{BoxFuture, FutureExt as _};
use protocol::{AnswersUpdate, ConfigUpdate, Variant};

use super::has_account;

/// Candidates with accounts, and beside them the one of the settings.
pub(crate) struct Candidates {
    pub(crate) state: ApiState,
    /// Who sits at this machine.
    pub(crate) local: Arc<dyn ContextProvider>,
}

impl ContextProvider for Candidates {
    fn context(&self, access: &Access) -> BoxFuture<'_, Result<CandidateContext, ContextError>> {
        if !has_account(&access.principal) {
            return self.local.context(access);
        }
        let access = access.clone();
        async move {
            // As `Unavailable` and not as an error of the store: the text is for the candidate.
            self.of_account(&access).await.unwrap_or_else(|_: StoreError| {
                Err(ContextError::Unavailable("your account cannot be read for now".to_owned()))
            })
        }
        .boxed()
    }
}

impl Candidates {
    async fn of_account(
        &self,
        access: &Access,
    ) -> Result<Result<CandidateContext, ContextError>, StoreError> {
        let user_id = access.principal.user.as_str();
        let (users, cvs) = (self.state.records::<User>(), self.state.records::<Cv>());
        let (logins, interviews) = (self.state.records::<Login>(), self.state.records::<Interview>());
        let login = async {
            Ok(match &access.login {
                Some(id) => logins.get(id).await?.is_some_and(|login| login.is_live(now_ms())),
                None => true,
            })
        };
        let interview = async {
            Ok(match &access.interview {
                Some(id) => interviews.get(id).await?.filter(|interview| interview.user_id == user_id),
                None => None,
            })
        };
        let (in_force, user, cv, interview) =
            tokio::try_join!(login, users.get(user_id), cvs.get(user_id), interview)?;
        let Some(user) = user.filter(|user| in_force && user.deleted_at.is_none()) else {
            return Ok(Err(ContextError::Revoked));
        };
        let mut job_description = String::new();
        if let Some(interview) = interview {
            let named = [("Company", &interview.company), ("Position", &interview.position)];
            let named = named.into_iter().filter(|(_, value)| !value.is_empty());
            let lines = named.map(|(name, value)| format!("{name}: {value}\n"));
            job_description = lines.chain([interview.record.job_description.clone()]).collect();
        }
        Ok(Ok(CandidateContext {
            profile: format!("Name: {} {}", user.first_name, user.last_name).trim_end().to_owned(),
            cv: cv.map(|cv| cv.record.text).unwrap_or_default(),
            job_description,
            preferences: wishes(&user.preferences),
        }))
    }
}

/// The account's preferences as the protocol has them.
fn wishes(preferences: &Preferences) -> ConfigUpdate {
    let style = match preferences.answers.style {
        AnswerStyle::Professional => Variant::Professional,
        AnswerStyle::Balanced => Variant::Balanced,
        AnswerStyle::Simple => Variant::Simple,
    };
    let length = match preferences.answers.length {
        AnswerLength::Short => protocol::AnswerLength::Short,
        AnswerLength::Medium => protocol::AnswerLength::Medium,
        AnswerLength::Long => protocol::AnswerLength::Long,
    };
    ConfigUpdate {
        language: Some(preferences.language.clone()),
        answers: Some(AnswersUpdate { mode: None, variants: Some(vec![style]), length: Some(length) }),
        save_history: Some(preferences.privacy.save_history),
        ..ConfigUpdate::default()
    }
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

//! The people of the matrix, and what belongs to them.
//!
//! Put into the store directly: hundreds of them are needed. Not here: how one becomes a user (`accounts.rs`).

use control_api::{
    auth::Login,
    history::{Begin, SessionHistory, SessionRecord},
    interviews::Interview,
    storage::{Filter, StoreError},
    users::{Cv, Plan, User},
};
use serde_json::Value;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    account::PASSWORD,
    api::{Api, answer},
    written::{BEGAN, answer_to, begin, turn},
};

/// A user who is logged in.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) token: String,
    /// In all texts of theirs.
    word: String,
}

/// Ids of what belongs to a person.
pub(crate) struct Things {
    pub(crate) user: String,
    pub(crate) interview: String,
    pub(crate) session: String,
    /// A login that is not the one that they ask with.
    pub(crate) login: String,
}

impl Person {
    pub(crate) async fn new(api: &Api, plan: Plan, admin: bool) -> Self {
        static HASH: OnceCell<String> = OnceCell::const_new();
        let hash = || async { api.state.passwords.hash(PASSWORD.into()).await.unwrap() };
        let hash = HASH.get_or_init(hash).await;
        let (user, token) = api.user().await;
        let change = |user: &mut User| {
            (user.plan, user.admin) = (plan, admin);
            user.password_hash = Some(hash.clone());
            Ok::<_, StoreError>(())
        };
        api.state.records::<User>().update(&user.id, change).await.unwrap();
        Self { id: user.id, email: user.email, token, word: format!("w{}", Uuid::new_v4().simple()) }
    }

    /// An interview, a CV, a session in the history, another login. Their texts have the person's word in them.
    pub(crate) async fn things(&self, api: &Api) -> Things {
        let state = &api.state;
        let id = || Uuid::now_v7().to_string();
        let interview = Interview {
            id: id(),
            user_id: self.id.clone(),
            title: format!("Rust {}", self.word),
            company: String::new(),
            position: String::new(),
            job_description: String::new(),
            created_at: BEGAN,
        };
        state.records().insert(&interview).await.unwrap();
        let cv = Cv { id: self.id.clone(), text: format!("CV {}", self.word), updated_at: BEGAN };
        state.records().insert(&cv).await.unwrap();
        let of_user = || Filter::all().eq("user_id", self.id.as_str());
        let login = state.records::<Login>().find_one(of_user()).await.unwrap().unwrap();
        let login = Login { id: id(), token_hash: id(), ..login.record };
        state.records().insert(&login).await.unwrap();
        let history = SessionHistory::new(state);
        let kept = history.begin(&Begin { id: &id(), ..begin("live", &self.id, BEGAN) }).await.unwrap();
        let said = format!("Rust {}", self.word);
        history.turn(&kept, &turn(1, "interviewer", &said, 0)).await.unwrap();
        history.answer(&kept, &answer_to(1, 1, &said)).await.unwrap();
        let session = state.records::<SessionRecord>().find_one(of_user()).await.unwrap().unwrap();
        Things { user: self.id.clone(), interview: interview.id, session: session.record.id, login: login.id }
    }

    /// What nobody else is shown.
    pub(crate) fn secrets(&self) -> [&str; 4] {
        [&self.id, &self.email, &self.word, &self.token]
    }

    /// All that they see of themselves.
    pub(crate) async fn everything(&self, api: &Api) -> Vec<Value> {
        let mut all = Vec::new();
        for path in
            ["users/me", "users/me/cv", "users/me/preferences", "interviews", "history", "auth/sessions"]
        {
            let (status, body) = answer(api.get(&format!("/api/v1/{path}")).bearer_auth(&self.token)).await;
            assert_eq!(status, 200, "{path}: {body}");
            all.push(body);
        }
        all
    }
}

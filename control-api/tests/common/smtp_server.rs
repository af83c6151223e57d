//! A real SMTP server for tests: aiosmtpd, from pinned Python wheels, a child process on a free loopback port.
//!
//! Fetched once into the cache by `python3 -m venv` and pip. Python's own `email` package reads what arrives. Not here: any client.

// Each suite uses a part.
#![allow(dead_code)]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::python;

/// A running server; dropped, it is killed.
pub(crate) struct SmtpServer {
    child: Child,
    /// The server ends when this closes, so that it cannot outlive the test, however that ends.
    _leash: ChildStdin,
    port: u16,
    mails: TempDir,
}

impl SmtpServer {
    /// Starts a server and waits until it accepts, after fetching it when this is the first time (200 kB). With `login`,
    /// `name:password`, it takes mail only after that.
    ///
    /// Receivers say how it answers: `never@` is refused for good, `later@` is put off once, `silence@` gets no answer.
    ///
    /// `None`, and a line on stderr, when `INTERVIEWAI_SKIP_SMTP=1`.
    ///
    /// # Panics
    /// When Python, pip or a wheel is missing: such a machine cannot run this test, and is told what to install.
    pub(crate) fn start(login: &str) -> Option<Self> {
        if env::var("INTERVIEWAI_SKIP_SMTP").is_ok_and(|skip| skip == "1") {
            eprintln!("SKIPPED: no real SMTP server, as INTERVIEWAI_SKIP_SMTP=1");
            return None;
        }
        let home = python::environment(VERSION, REQUIREMENTS, "an SMTP server (200 kB)", WITHOUT);
        let mails = tempfile::tempdir().expect("a temporary folder can be made");
        let log = mails.path().join("log");
        let mut child = Command::new(home.join("bin/python"))
            .args(["-c", SERVER])
            .arg(mails.path())
            .arg(login)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).expect("the folder can be written"))
            .spawn()
            .expect("the Python of a fresh virtual environment runs");
        let leash = child.stdin.take().expect("stdin is piped");
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        lines.read_line(&mut said).expect("the server says where it listens");
        let Ok(port) = said.trim().parse() else {
            let _ = child.wait();
            panic!("the SMTP server did not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
        };
        Some(Self { child, _leash: leash, port, mails })
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The `n`-th mail that it took, from 0, as Python reads it: `from`, `to`, `subject`, `text`, `headers`, `login`, `connection`.
    /// Waits for it.
    pub(crate) async fn mail(&self, n: usize) -> Value {
        let path = self.mails.path().join(format!("{n}.json"));
        for _ in 0..1_200 {
            if let Ok(text) = fs::read_to_string(&path) {
                return serde_json::from_str(&text).expect("a mail is whole when it is there");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no mail {n} came within 60 s");
    }

    /// How many it took.
    pub(crate) fn count(&self) -> usize {
        (0..).take_while(|n| self.mails.path().join(format!("{n}.json")).exists()).count()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const WITHOUT: &str = "; INTERVIEWAI_SKIP_SMTP=1 leaves it out";
/// Names the environment in the cache; changes with [`REQUIREMENTS`].
const VERSION: &str = "smtp-1";

const REQUIREMENTS: &str = "\
aiosmtpd==1.4.6 --hash=sha256:72c99179ba5aa9ae0abbda6994668239b64a5ce054471955fe75f581d2592475
atpublic==5.1 --hash=sha256:135783dbd887fbddb6ef032d104da70c124f2b44b9e2d79df07b9da5334825e3
attrs==26.1.0 --hash=sha256:c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309
";

/// Serves until its stdin closes.
const SERVER: &str = r#"
import asyncio, email, email.policy, itertools, json, os, sys
from aiosmtpd.smtp import SMTP, AuthResult

folder, login = sys.argv[1], sys.argv[2]
count, connections, put_off = itertools.count(), itertools.count(), set()

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        name = address.split("@")[0]
        if name == "never":
            return f"550 5.1.1 <{address}> is unknown here"
        if name == "later" and address not in put_off:
            put_off.add(address)
            return f"451 4.7.1 <{address}> comes too soon"
        if name == "silence":
            await asyncio.sleep(3600)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "subject": message["subject"],
            "text": message.get_content(), "headers": dict(message.items()), "login": session.authenticated,
            "connection": server.number,
        }
        path = os.path.join(folder, f"{next(count)}.json")
        with open(path + ".partial", "w") as file:
            json.dump(mail, file)
        os.rename(path + ".partial", path)
        return "250 OK"

def authenticate(server, session, envelope, mechanism, data):
    right = f"{data.login.decode()}:{data.password.decode()}" == login
    return AuthResult(success=right, handled=False)

def connect():
    server = SMTP(Handler(), authenticator=authenticate, auth_required=bool(login), auth_require_tls=False)
    server.number = next(connections)
    return server

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)

asyncio.run(main())
"#;

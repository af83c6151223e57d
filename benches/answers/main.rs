//! What the engine adds to a language model: from final text to request, and from the model's token to the client's frame.
//!
//! `cargo bench --bench answers -- [--sessions N,N] [--questions N] [--json FILE]`, `--help` for what each is. Engine, a local
//! upstream and clients run in one process, on one clock, over real sockets; audio is sent in real time. The control is the
//! same upstream read by a bare HTTP client just after: compare rows of one run, and say how busy the machine was.
//! Not here: how soon speech is written down (`speech`), the quality of an answer.

mod direct;
#[path = "../support/measure.rs"]
mod measure;
mod session;
mod upstream;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use measure::{cpu_seconds, load, quantile};
use protocol::Variant;
use serde_json::{Value, json};
use session::{Heard, Host, QUESTION, Script, WRITING_DOWN, converse, request_ms};
use tokio::runtime::{Handle, Runtime};
use upstream::{Manner, Upstream, ms_between};

fn main() {
    let Some(options) = Options::parse() else {
        println!("{HELP}");
        return;
    };
    // The engine's threads are its own, as in production.
    let engines = Runtime::new().expect("a runtime starts");
    let world = Runtime::new().expect("a runtime starts");
    let mut table = Table::begin();
    world.block_on(async {
        for &sessions in options.sessions.iter().filter(|sessions| **sessions > 0) {
            let questions = options.questions.unwrap_or(if sessions == 1 { 25 } else { 3 });
            let tokens = if sessions == 1 { 20 } else { 60 };
            let row = |eager| Row { questions, eager, ..Row::plain(sessions, tokens) };
            row(false).measure(engines.handle(), &mut table).await;
            row(false).measure_direct(&mut table).await;
            row(true).measure(engines.handle(), &mut table).await;
        }
        variants(engines.handle(), options.questions.unwrap_or(12), &mut table).await;
    });
    if let Some(file) = options.json {
        let text = serde_json::to_string_pretty(&table.json()).expect("a report is plain data");
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// Whether asking for three variants slows the first token of the preferred one, of a model that serves one request at a
/// time (one slot) and of one that serves all; all four at once, a session each.
async fn variants(engines: &Handle, questions: usize, table: &mut Table) {
    let all = [Variant::Balanced, Variant::Professional, Variant::Simple];
    let rows = [(1, usize::MAX), (3, usize::MAX), (1, 1), (3, 1)].map(|(count, slots)| {
        let mut row = Row { questions, variants: all[..count].to_vec(), ..Row::plain(1, 10) };
        row.manner.slots = slots.min(MANY_SLOTS);
        let slots = if slots == 1 { "one slot" } else { "many slots" };
        row.name = format!("{count} variant{}, {slots}", if count == 1 { "" } else { "s" });
        row
    });
    let measured = join_all(rows.iter().map(|row| row.converse(engines))).await;
    for (row, Measured { host, upstream: _, heard }) in rows.iter().zip(measured) {
        row.complain(&heard, table);
        let asked = heard.iter().flat_map(|heard| &heard.asked);
        let first = asked
            .filter_map(|asked| Some(ms_between(host.scribe.handed_us(asked.id)?, asked.first_text_us?)));
        table.row(&row.name, "final text → first text of the preferred", first.collect());
    }
}

/// One way of using the engine.
struct Row {
    name: String,
    sessions: usize,
    /// Of each session.
    questions: usize,
    /// Whether the engine guesses at pauses that a turn is over.
    eager: bool,
    variants: Vec<Variant>,
    manner: Manner,
}

struct Measured {
    host: Host,
    upstream: Upstream,
    heard: Vec<Heard>,
}

impl Row {
    fn plain(sessions: usize, tokens: usize) -> Self {
        Self {
            name: format!("{sessions} session{}", if sessions == 1 { "" } else { "s" }),
            sessions,
            questions: 1,
            eager: false,
            variants: vec![Variant::Balanced],
            manner: Manner { first: MODEL_READS, every: TOKEN_EVERY, tokens, slots: MANY_SLOTS },
        }
    }

    /// From the first token's request to the last token of the last variant.
    fn answering(&self) -> Duration {
        let one = self.manner.first + self.manner.every * self.manner.tokens as u32;
        if self.manner.slots == 1 { one * self.variants.len() as u32 } else { one }
    }

    /// The pause of one session, in which its answer finds room; sessions begin all over the time of one question.
    fn script(&self, session: usize) -> Script {
        let pause = LONGEST_SILENCE + WRITING_DOWN + self.answering() + REST;
        let offset = (QUESTION + pause).mul_f64(session as f64 / self.sessions as f64);
        Script { questions: self.questions, pause, offset }
    }

    async fn converse(&self, engines: &Handle) -> Measured {
        let upstream = Upstream::start(self.manner).await;
        let host = Host::start(engines, &upstream, self.eager, self.variants.clone()).await;
        let sessions = (0..self.sessions).map(|n| tokio::spawn(converse(host.url.clone(), self.script(n))));
        let heard = join_all(sessions).await.into_iter().map(|heard| heard.expect("no client panics"));
        let heard = heard.collect();
        Measured { host, upstream, heard }
    }

    async fn measure(&self, engines: &Handle, table: &mut Table) {
        let (cpu, machine) = (Cpu::begin(), Machine::begin());
        let Measured { host, upstream, heard } = self.converse(engines).await;
        let (cores, late) = (cpu.cores(), machine.late_ms());
        self.complain(&heard, table);
        let name = format!("{}{}", self.name, if self.eager { ", eager" } else { "" });
        let asked = || heard.iter().flat_map(|heard| &heard.asked);
        if !self.eager {
            let (warm, cold) = request_ms(&heard, &host.scribe, &upstream);
            table.row(&name, "final text → request read by the upstream", warm);
            table.row(&name, "  the same, over a new connection", cold);
        }
        let tokens = heard.iter().flat_map(|heard| heard.token_ms.iter().copied());
        table.row(&name, "token written → frame parsed by the client", tokens.collect());
        let arrivals = asked().filter_map(|asked| Some((asked, upstream.arrival(asked.id)?)));
        let request = arrivals.map(|(asked, arrival)| ms_between(asked.speech_end_us, arrival.at_us));
        table.row(&name, "end of speech → request read by the upstream", request.collect());
        let first = asked().filter_map(|asked| Some(ms_between(asked.speech_end_us, asked.first_text_us?)));
        table.row(&name, "end of speech → first text at the client", first.collect());
        table.row(&name, MACHINE, late);
        println!("{name:<24} {cores:.2} cores, clients and upstream included; load {}", load());
    }

    /// The same questions and tokens without an engine.
    async fn measure_direct(&self, table: &mut Table) {
        let machine = Machine::begin();
        let upstream = Upstream::start(self.manner).await;
        let clients = (0..self.sessions).map(|n| {
            let first = (n * self.questions) as u64 + 1;
            let script = Script { pause: REST, ..self.script(n) };
            tokio::spawn(direct::ask(upstream.clone(), script, first, self.answering()))
        });
        let direct: Vec<_> =
            join_all(clients).await.into_iter().map(|direct| direct.expect("no client panics")).collect();
        let name = format!("{}, no engine", self.name);
        let all =
            |values: fn(&direct::Direct) -> &Vec<f64>| direct.iter().flat_map(values).copied().collect();
        table.row(&name, "request → read by the upstream", all(|direct| &direct.request_ms));
        table.row(&name, "token written → piece read by the client", all(|direct| &direct.token_ms));
        table.row(&name, MACHINE, machine.late_ms());
    }

    /// Figures of a run in which answers are missing are not to be quoted.
    fn complain(&self, heard: &[Heard], table: &mut Table) {
        let wanted = self.sessions * self.questions * self.variants.len();
        let answers: usize = heard.iter().map(|heard| heard.answers).sum();
        if answers != wanted {
            table.complain(format!("{}: {answers} answers instead of {wanted}", self.name));
        }
        for complaint in heard.iter().flat_map(|heard| &heard.complaints).take(3) {
            table.complain(format!("{}: {complaint}", self.name));
        }
    }
}

/// CPU time of this process, from here on.
struct Cpu {
    used: f64,
    began: Instant,
}

impl Cpu {
    fn begin() -> Self {
        Self { used: Self::used(), began: Instant::now() }
    }

    fn used() -> f64 {
        cpu_seconds(std::process::id()).unwrap_or_default()
    }

    fn cores(&self) -> f64 {
        (Self::used() - self.used) / self.began.elapsed().as_secs_f64()
    }
}

/// A thread that does nothing but wake up, and how late the machine lets it: what others use of it shows here.
struct Machine {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<f64>>,
}

impl Machine {
    #[expect(clippy::disallowed_methods, reason = "a thread of its own, for this")]
    fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut late_ms = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let due = Instant::now() + WAKE_EVERY;
                std::thread::sleep(WAKE_EVERY);
                late_ms.push(due.elapsed().as_secs_f64() * 1e3);
            }
            late_ms
        });
        Self { over, thread }
    }

    fn late_ms(self) -> Vec<f64> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only sleeps")
    }
}

/// What was measured, printed as it comes.
struct Table {
    rows: Vec<Value>,
    complaints: Vec<String>,
}

impl Table {
    fn begin() -> Self {
        println!("load {}", load());
        println!(
            "{:<24} {:<44} {:>6} {:>8} {:>8} {:>8} {:>8}",
            "milliseconds", "", "n", "p50", "p95", "p99", "max"
        );
        Self { rows: Vec::new(), complaints: Vec::new() }
    }

    fn row(&mut self, name: &str, stage: &str, values: Vec<f64>) {
        let at = [0.5, 0.95, 0.99, 1.0].map(|part| quantile(&values, part));
        let [p50, p95, p99, max] = at;
        let shown = at.map(|value| value.map_or("–".to_owned(), |value| format!("{value:.2}")));
        println!(
            "{name:<24} {stage:<44} {:>6} {:>8} {:>8} {:>8} {:>8}",
            values.len(),
            shown[0],
            shown[1],
            shown[2],
            shown[3]
        );
        self.rows.push(json!({
            "row": name, "stage": stage.trim(), "n": values.len(), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max,
        }));
    }

    fn complain(&mut self, complaint: String) {
        println!("{complaint}");
        self.complaints.push(complaint);
    }

    fn json(self) -> Value {
        json!({ "load": load(), "rows": self.rows, "complaints": self.complaints })
    }
}

struct Options {
    sessions: Vec<usize>,
    questions: Option<usize>,
    json: Option<PathBuf>,
}

impl Options {
    /// What was asked for; `None` when it was help.
    fn parse() -> Option<Self> {
        let mut options = Self { sessions: vec![1, 200], questions: None, json: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            match argument.as_str() {
                "--sessions" => {
                    let numbers = value();
                    let numbers = numbers.split(',').map(|n| n.parse().expect("--sessions is numbers"));
                    options.sessions = numbers.collect();
                }
                "--questions" => options.questions = Some(value().parse().expect("--questions is a number")),
                "--json" => options.json = Some(value().into()),
                "--help" => return None,
                // Cargo passes this to every bench.
                "--bench" => {}
                other => panic!("{other} is not an option; --help lists them"),
            }
        }
        Some(options)
    }
}

const HELP: &str = "\
What the engine adds to a language model, in milliseconds.
  --sessions N,N   sessions at once, a table for each number (default 1,200); 0 leaves out all but the variants
  --questions N    questions of each session (default: 25 of one, 3 of many, 12 for the variants)
  --json FILE      also writes the table as JSON";

/// 20 tokens a second.
const TOKEN_EVERY: Duration = Duration::from_millis(50);
/// A small local model reading a prompt.
const MODEL_READS: Duration = Duration::from_millis(100);
const MACHINE: &str = "the machine: thread due → running";
const WAKE_EVERY: Duration = Duration::from_millis(5);
const MANY_SLOTS: usize = 10_000;
/// The longest silence in which a turn of the question's length ends, with some room.
const LONGEST_SILENCE: Duration = Duration::from_millis(1_100);
const REST: Duration = Duration::from_millis(300);

//! How processes find each other and make sure that they run the same, before the first tensor is sent.
//!
//! A launcher may start processes again at the same store, so what is found there may be left over. Rank 0
//! therefore writes a random challenge; each other rank answers it with a random number and the
//! description of its run; rank 0's verdict repeats the numbers, by which each knows that it is meant. A
//! rank whose number is not repeated answered a challenge of former processes, and waits for the next one.
use super::address::outlet;
use super::description::Description;
use super::environment::Environment;
use super::error::{C10dError, C10dErrorKind, DistributedError};
use super::ffi::{Backend, Store};
use super::group::ProcessGroup;
use super::patience::{Note, within};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const CHALLENGE: &str = "glow/challenge";
/// Between two looks at the store.
const PAUSE: Duration = Duration::from_millis(30);
/// After a first difference, so that all of them are told at once.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    number: u64,
    description: Description,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Verdict {
    /// Of ranks 1, 2, …; `None` for one that did not come.
    numbers: Vec<Option<u64>>,
    refusal: Option<Refusal>,
    /// Something of rank 0's for all.
    offer: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Refusal {
    Differs(Vec<String>),
    Absent(Vec<usize>),
}

/// A process that has reached the store that all processes share.
#[derive(Debug)]
pub struct Rendezvous {
    environment: Environment,
    timeout: Duration,
    store: Arc<Store>,
}

impl Rendezvous {
    /// Opens the store: rank 0 serves it, unless the launcher does, and the others connect to it.
    ///
    /// # Errors
    /// The port is taken, or rank 0 is not reached within `timeout`.
    pub fn connect(environment: Environment, timeout: Duration) -> Result<Self, DistributedError> {
        let (host, port) = (environment.master_address.clone(), environment.master_port);
        let serves = environment.serves();
        let open = {
            let host = host.clone();
            move || Store::open(&host, port, serves, timeout)
        };
        let unreachable =
            |source| DistributedError::Unreachable { host: host.clone(), port, timeout, source };
        let what = format!("rank {}: waiting for {host}:{port}", environment.rank);
        match within(timeout + GRACE, &what, open) {
            None => Err(unreachable(None)),
            Some(Ok(store)) => Ok(Self { environment, timeout, store: Arc::new(store) }),
            Some(Err(source)) if is_in_use(&source) => Err(DistributedError::PortInUse { port, source }),
            Some(Err(source)) => Err(unreachable(Some(source))),
        }
    }

    /// This process's place among all.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Waits for all processes and compares their descriptions; `offer` of rank 0 is handed to all, such as its
    /// configuration.
    ///
    /// # Errors
    /// A process does not come within the timeout, or differs from rank 0.
    pub fn meet(self, description: Description, offer: String) -> Result<Meeting, DistributedError> {
        let (rank, world_size, timeout) = (self.environment.rank, self.environment.world_size, self.timeout);
        let description = description.with("WORLD_SIZE", world_size);
        // A stranger at the port may never answer: whatever waits for it waits elsewhere.
        let met = within(3 * timeout + 5 * GRACE, "", move || {
            let deadline = Instant::now() + timeout;
            let (challenge, offer) = match rank {
                0 => (self.challenge(&description, &offer, deadline)?, offer),
                _ => self.answer(description, deadline)?,
            };
            Ok(Meeting { rendezvous: self, prefix: format!("glow/{challenge}"), offer })
        });
        let others = if rank == 0 { (1..world_size).collect() } else { vec![0] };
        met.unwrap_or(Err(DistributedError::Absent { ranks: others, world_size, timeout }))
    }

    /// Rank 0: gathers the others' answers and gives the verdict.
    fn challenge(
        &self,
        ours: &Description,
        offer: &str,
        deadline: Instant,
    ) -> Result<String, DistributedError> {
        let world_size = self.environment.world_size;
        let lost = |source| self.store_lost(source);
        let challenge = format!("{:016x}", rand::random::<u64>());
        self.store.set(CHALLENGE, challenge.as_bytes()).map_err(lost)?;
        let mut numbers = vec![None; world_size - 1];
        let mut differences = Vec::new();
        let mut until = deadline;
        let mut note = Note::default();
        loop {
            for (index, number) in numbers.iter_mut().enumerate().filter(|(_, number)| number.is_none()) {
                let (rank, key) = (index + 1, answer_key(&challenge, index + 1));
                if !self.store.has(&key).map_err(lost)? {
                    continue;
                }
                let answer = self.store.get(&key, self.timeout).map_err(lost)?;
                match serde_json::from_slice::<Answer>(&answer) {
                    Ok(answer) => {
                        *number = Some(answer.number);
                        differences.extend(ours.differences(rank, &answer.description));
                    }
                    Err(_) => differences.push(format!("rank {rank} is another version of this program")),
                }
            }
            let absent: Vec<usize> = (1..world_size).filter(|rank| numbers[rank - 1].is_none()).collect();
            if !differences.is_empty() {
                until = until.min(Instant::now() + GRACE);
            }
            let late = Instant::now() >= until;
            if !absent.is_empty() && !late {
                let text = || format!("rank 0: waiting for {}", super::error::ranks_text(&absent));
                note.perhaps(text);
                thread::sleep(PAUSE);
                continue;
            }
            let refusal = match (differences.is_empty(), absent.is_empty()) {
                (false, _) => Some(Refusal::Differs(differences)),
                (true, false) => Some(Refusal::Absent(absent)),
                (true, true) => None,
            };
            let verdict = Verdict { numbers, refusal, offer: offer.into() };
            let text = serde_json::to_vec(&verdict).expect("a verdict is representable as JSON");
            self.store.set(&verdict_key(&challenge), &text).map_err(lost)?;
            if verdict.refusal.is_some() && self.environment.serves() {
                // The others are to read it before the store ends with this process.
                thread::sleep(2 * GRACE);
            }
            return self.accept(verdict.refusal).map(|()| challenge);
        }
    }

    /// Any other rank: answers until the verdict names its number.
    ///
    /// From the challenge on, rank 0 is there and will give one: it is waited for somewhat longer than rank 0
    /// itself waits, so that all report the same.
    fn answer(
        &self,
        description: Description,
        mut deadline: Instant,
    ) -> Result<(String, String), DistributedError> {
        let Environment { rank, world_size, .. } = self.environment;
        let lost = |source| self.store_lost(source);
        let mut answered: Option<(String, u64, bool)> = None;
        let mut note = Note::default();
        while Instant::now() < deadline {
            if self.store.has(CHALLENGE).map_err(lost)? {
                let challenge = self.store.get(CHALLENGE, self.timeout).map_err(lost)?;
                let challenge = String::from_utf8_lossy(&challenge).into_owned();
                let verdict_key = verdict_key(&challenge);
                let old = self.store.has(&verdict_key).map_err(lost)?;
                if answered.as_ref().is_none_or(|(answered, ..)| *answered != challenge) {
                    let answer = Answer { number: rand::random(), description: description.clone() };
                    let text = serde_json::to_vec(&answer).expect("an answer is representable as JSON");
                    self.store.set(&answer_key(&challenge, rank), &text).map_err(lost)?;
                    answered = Some((challenge.clone(), answer.number, old));
                    if !old {
                        deadline = Instant::now() + self.timeout + 3 * GRACE;
                    }
                } else if let Some((_, number, false)) = answered
                    && old
                {
                    let verdict = self.store.get(&verdict_key, self.timeout).map_err(lost)?;
                    let verdict = serde_json::from_slice::<Verdict>(&verdict).map_err(|_| {
                        DistributedError::Differs {
                            differences: vec!["rank 0 is another version of this program".into()],
                        }
                    })?;
                    let theirs = verdict.numbers.get(rank - 1);
                    if theirs.is_none() {
                        let problem = format!(
                            "WORLD_SIZE is {} on rank 0 and {world_size} here",
                            verdict.numbers.len() + 1
                        );
                        return Err(DistributedError::Superfluous { rank, problem });
                    }
                    if theirs != Some(&Some(number)) {
                        let problem = "another process has this rank".into();
                        return Err(DistributedError::Superfluous { rank, problem });
                    }
                    return self.accept(verdict.refusal).map(|()| (challenge, verdict.offer));
                }
            }
            note.perhaps(|| format!("rank {rank}: waiting for rank 0"));
            thread::sleep(PAUSE);
        }
        Err(DistributedError::Absent { ranks: vec![0], world_size, timeout: self.timeout })
    }

    fn accept(&self, refusal: Option<Refusal>) -> Result<(), DistributedError> {
        let (world_size, timeout) = (self.environment.world_size, self.timeout);
        match refusal {
            None => Ok(()),
            Some(Refusal::Differs(differences)) => Err(DistributedError::Differs { differences }),
            Some(Refusal::Absent(ranks)) => Err(DistributedError::Absent { ranks, world_size, timeout }),
        }
    }

    fn store_lost(&self, source: C10dError) -> DistributedError {
        DistributedError::PeerLost {
            ranks: vec![0],
            world_size: self.environment.world_size,
            doing: "the processes were finding each other",
            timed_out: source.kind == C10dErrorKind::Timeout,
            source: Some(source),
        }
    }
}

/// Processes that have met and run the same, and are not connected yet.
#[derive(Debug)]
pub struct Meeting {
    rendezvous: Rendezvous,
    prefix: String,
    offer: String,
}

/// What a process does next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Next {
    /// It connects, for tensors on devices of this kind.
    Connects(String),
    /// It fails, for this reason.
    Fails(String),
}

impl Meeting {
    /// What rank 0 offered.
    pub fn offer(&self) -> &str {
        &self.offer
    }

    /// Tells the others that this process cannot go on, and why.
    pub fn fail(self, error: &str) {
        let next = Next::Fails(error.into());
        within(3 * GRACE, "", move || {
            // Without a store the others find out by themselves.
            let _ = self.tell(&next);
            if self.rendezvous.environment.serves() {
                thread::sleep(GRACE);
            }
        });
    }

    /// Connects the processes; with `cuda` by NCCL as well, for which libtorch's CUDA library must have been
    /// opened.
    ///
    /// # Errors
    /// A process fails before or has another kind of device, or they cannot connect within the timeout.
    pub fn connect(self, cuda: bool) -> Result<ProcessGroup, DistributedError> {
        let Environment { rank, world_size, .. } = self.rendezvous.environment;
        let timeout = self.rendezvous.timeout;
        let others = (0..world_size).filter(|&other| other != rank).collect();
        let connected = within(2 * timeout + 2 * GRACE, "", move || self.form(cuda));
        connected.unwrap_or(Err(DistributedError::Absent { ranks: others, world_size, timeout }))
    }

    fn tell(&self, next: &Next) -> Result<(), C10dError> {
        let text = serde_json::to_vec(next).expect("a decision is representable as JSON");
        self.rendezvous.store.set(&self.next_key(self.rendezvous.environment.rank), &text)
    }

    fn next_key(&self, rank: usize) -> String {
        format!("{}/next/{rank}", self.prefix)
    }

    fn form(self, cuda: bool) -> Result<ProcessGroup, DistributedError> {
        let outlet = match outlet(&self.rendezvous.environment) {
            Ok(outlet) => outlet,
            Err(error) => {
                self.fail(&error.to_string());
                return Err(error);
            }
        };
        let kind = if cuda { "cuda" } else { "cpu" };
        self.wait_for_all(Next::Connects(kind.into()))?;
        let Self { rendezvous: Rendezvous { environment, timeout, store }, prefix, .. } = self;
        let (rank, size) = (environment.rank, environment.world_size);
        let connect = |source| DistributedError::Connect { source };
        let gloo = Backend::gloo(&store, &format!("{prefix}/gloo"), &outlet, rank, size, timeout);
        let gloo = gloo.map_err(connect)?;
        let nccl = match cuda {
            true => {
                Some(Backend::nccl(&store, &format!("{prefix}/nccl"), rank, size, timeout).map_err(connect)?)
            }
            false => None,
        };
        let watch = Store::open(&environment.master_address, environment.master_port, false, timeout);
        let watch = watch.map_err(connect)?;
        Ok(ProcessGroup::new(&environment, timeout, store, watch, prefix, gloo, nccl))
    }

    /// Waits until all have decided, and compares that.
    fn wait_for_all(&self, ours: Next) -> Result<(), DistributedError> {
        let Rendezvous { environment, timeout, store } = &self.rendezvous;
        let lost = |source| self.rendezvous.store_lost(source);
        self.tell(&ours).map_err(lost)?;
        let deadline = Instant::now() + *timeout;
        let mut missing: Vec<usize> = (0..environment.world_size).collect();
        loop {
            let mut absent = Vec::new();
            for rank in missing {
                let key = self.next_key(rank);
                if !store.has(&key).map_err(lost)? {
                    absent.push(rank);
                    continue;
                }
                let next = store.get(&key, *timeout).map_err(lost)?;
                match (serde_json::from_slice(&next), &ours) {
                    (Ok(Next::Fails(message)), _) => {
                        return Err(DistributedError::PeerFailed { rank, message });
                    }
                    (Ok(Next::Connects(theirs)), Next::Connects(ours)) if theirs != *ours => {
                        let ranks = format!("the device of rank {rank} is {theirs}");
                        let differences = vec![format!("{ranks}, of rank {} {ours}", environment.rank)];
                        return Err(DistributedError::Differs { differences });
                    }
                    _ => {}
                }
            }
            missing = absent;
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (world_size, timeout) = (environment.world_size, *timeout);
                return Err(DistributedError::Absent { ranks: missing, world_size, timeout });
            }
            thread::sleep(PAUSE);
        }
    }
}

fn answer_key(challenge: &str, rank: usize) -> String {
    format!("glow/{challenge}/answer/{rank}")
}

fn verdict_key(challenge: &str) -> String {
    format!("glow/{challenge}/verdict")
}

fn is_in_use(error: &C10dError) -> bool {
    let message = error.message.to_lowercase();
    message.contains("eaddrinuse") || message.contains("address already in use")
}

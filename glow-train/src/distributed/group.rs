//! Processes that compute together: collective operations on tensors, and what happens when one of them
//! is lost.
//!
//! The sizes of the tensors must agree, or Gloo ends the program. Where they follow from the run's
//! description alone they are compared once ([`ProcessGroup::agree`]); otherwise before every operation.
//!
//! When an operation fails, every process that notices calls the roll: it signs in at the store, waits
//! a few seconds for the others, and names those that did not. Who fails for a reason of its own
//! signs in with it, so that the others can tell it. A thread looks at the store every second, so that
//! processes that wait elsewhere come to the roll call as well.
use super::environment::Environment;
use super::error::{C10dError, C10dErrorKind, DistributedError};
use super::ffi::{Backend, Operation, Store};
use super::patience::within;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// How often a waiting process looks up.
const GLANCE: Duration = Duration::from_millis(200);
/// Between two looks of the watch at the store.
const WATCH: Duration = Duration::from_secs(1);
/// How long a roll call waits for the others, whose watches need up to a second.
const ROLL_CALL: Duration = Duration::from_secs(3);

/// What a process signs in with that failed for no reason of its own.
const NO_FAULT: &str = "";

/// A process's membership in a group.
#[derive(Debug)]
pub struct ProcessGroup {
    rank: usize,
    world_size: usize,
    timeout: Duration,
    serves: bool,
    store: Arc<Store>,
    prefix: String,
    gloo: ManuallyDrop<Backend>,
    nccl: ManuallyDrop<Option<Backend>>,
    watch: Arc<Watch>,
    broken: Cell<bool>,
}

#[derive(Debug, Default)]
struct Watch {
    /// A process has failed, or the store is gone.
    alarm: AtomicBool,
    ended: AtomicBool,
    /// Whether this process is asked to stop.
    stop: OnceLock<Arc<AtomicBool>>,
}

impl Watch {
    /// Looks at the store until the group ends.
    fn keep(&self, store: &Store, prefix: &str) {
        let (fault, stop) = (format!("{prefix}/fault"), format!("{prefix}/stop"));
        while !self.ended.load(Ordering::Relaxed) {
            // An error: the process that served the store is gone.
            if store.has(&fault).unwrap_or(true) {
                self.alarm.store(true, Ordering::Relaxed);
                return;
            }
            if let Some(ours) = self.stop.get() {
                // A store that fails is found at the next look.
                if ours.load(Ordering::Relaxed) {
                    let _ = store.set(&stop, b"1");
                } else if store.has(&stop).unwrap_or(false) {
                    ours.store(true, Ordering::Relaxed);
                }
            }
            thread::sleep(WATCH);
        }
    }
}

/// The kinds of operation, as they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collective {
    AllReduce = 1,
    Broadcast = 2,
    AllGather = 3,
    Agree = 4,
}

impl ProcessGroup {
    pub(super) fn new(
        environment: &Environment,
        timeout: Duration,
        store: Arc<Store>,
        watch_store: Store,
        prefix: String,
        gloo: Backend,
        nccl: Option<Backend>,
    ) -> Self {
        let watch = Arc::new(Watch::default());
        thread::spawn({
            let (watch, prefix) = (watch.clone(), prefix.clone());
            move || watch.keep(&watch_store, &prefix)
        });
        Self {
            rank: environment.rank,
            world_size: environment.world_size,
            timeout,
            serves: environment.serves(),
            store,
            prefix,
            gloo: ManuallyDrop::new(gloo),
            nccl: ManuallyDrop::new(nccl),
            watch,
            broken: Cell::new(false),
        }
    }

    /// This process's number, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Whether an operation failed: there will be no further ones.
    pub fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// From now on, a process that is asked to stop passes that on to the others, within two seconds.
    pub fn spread_stop(&self, stop: Arc<AtomicBool>) {
        let _ = self.watch.stop.set(stop);
    }

    /// Processes in all.
    pub fn world_size(&self) -> usize {
        self.world_size
    }

    /// The sum of the processes' tensors, in place; `doing` is for messages.
    ///
    /// # Errors
    /// A process is gone or slower than the timeout, or the tensors do not agree.
    pub fn all_reduce(&self, tensor: &Tensor, doing: &'static str) -> Result<(), DistributedError> {
        self.compare(Collective::AllReduce, &[tensor], doing)?;
        self.begin_all_reduce(tensor, doing)?.finish(self)
    }

    /// Begins [`ProcessGroup::all_reduce`] without comparing the tensors, which [`ProcessGroup::agree`]
    /// must have done for tensors like these.
    ///
    /// # Errors
    /// As for [`ProcessGroup::all_reduce`].
    pub fn begin_all_reduce(
        &self,
        tensor: &Tensor,
        doing: &'static str,
    ) -> Result<Pending, DistributedError> {
        let backend = self.backend(tensor, doing)?;
        let operation = backend.all_reduce(tensor).map_err(|error| self.fault(doing, Some(error), false))?;
        Ok(Pending { operation, doing })
    }

    /// The tensor of process `root` for all, in place.
    ///
    /// # Errors
    /// As for [`ProcessGroup::all_reduce`].
    pub fn broadcast(
        &self,
        tensor: &Tensor,
        root: usize,
        doing: &'static str,
    ) -> Result<(), DistributedError> {
        self.compare(Collective::Broadcast, &[tensor], doing)?;
        let backend = self.backend(tensor, doing)?;
        let operation =
            backend.broadcast(tensor, root).map_err(|error| self.fault(doing, Some(error), false))?;
        Pending { operation, doing }.finish(self)
    }

    /// The bytes of every process, by rank; they may differ in length.
    ///
    /// # Errors
    /// As for [`ProcessGroup::all_reduce`].
    pub fn all_gather_bytes(
        &self,
        bytes: &[u8],
        doing: &'static str,
    ) -> Result<Vec<Vec<u8>>, DistributedError> {
        let lengths = self.gather(&[Collective::AllGather as i64, bytes.len() as i64], doing)?;
        let mut longest = 0;
        for (rank, header) in lengths.iter().enumerate() {
            if header[0] != Collective::AllGather as i64 {
                return Err(mismatch(doing, rank, header, &lengths[self.rank]));
            }
            longest = longest.max(header[1] as usize);
        }
        let mut padded = bytes.to_vec();
        padded.resize(longest, 0);
        let input = Tensor::from_slice(&padded);
        let output = Tensor::zeros([self.world_size as i64, longest as i64], (Kind::Uint8, Device::Cpu));
        if longest > 0 {
            let operation = self
                .gloo
                .all_gather(&output, &input)
                .map_err(|error| self.fault(doing, Some(error), false))?;
            Pending { operation, doing }.finish(self)?;
        }
        let rows = lengths.iter().enumerate().map(|(rank, header)| {
            let row = output.get(rank as i64).narrow(0, 0, header[1]);
            Vec::<u8>::try_from(row).expect("a vector of bytes")
        });
        Ok(rows.collect())
    }

    /// Waits until all processes have come here.
    ///
    /// # Errors
    /// As for [`ProcessGroup::all_reduce`].
    pub fn barrier(&self, doing: &'static str) -> Result<(), DistributedError> {
        let operation = self.gloo.barrier().map_err(|error| self.fault(doing, Some(error), false))?;
        Pending { operation, doing }.finish(self)
    }

    /// Makes sure that all processes have tensors of the same types and sizes.
    ///
    /// # Errors
    /// As for [`ProcessGroup::all_reduce`].
    pub fn agree(&self, tensors: &[&Tensor], doing: &'static str) -> Result<(), DistributedError> {
        self.compare(Collective::Agree, tensors, doing)
    }

    fn compare(
        &self,
        collective: Collective,
        tensors: &[&Tensor],
        doing: &'static str,
    ) -> Result<(), DistributedError> {
        for tensor in tensors {
            self.backend(tensor, doing)?;
        }
        let elements = tensors.iter().map(|tensor| tensor.numel() as i64).sum();
        let digest = tensors.iter().fold(0i64, |digest, tensor| {
            digest.wrapping_mul(0x0100_0000_01B3).wrapping_add(tensor.numel() as i64)
        });
        let kind = tensors.first().map_or(-1, |tensor| tensor.kind() as i64);
        let headers = self.gather(&[collective as i64, elements, kind, digest], doing)?;
        let ours = &headers[self.rank];
        match headers.iter().position(|theirs| theirs != ours) {
            Some(rank) => Err(mismatch(doing, rank, &headers[rank], ours)),
            None => Ok(()),
        }
    }

    /// Four numbers of every process.
    fn gather(&self, numbers: &[i64], doing: &'static str) -> Result<Vec<Vec<i64>>, DistributedError> {
        let mut row = numbers.to_vec();
        row.resize(4, 0);
        let output = Tensor::zeros([self.world_size as i64, 4], (Kind::Int64, Device::Cpu));
        let operation = self
            .gloo
            .all_gather(&output, &Tensor::from_slice(&row))
            .map_err(|error| self.fault(doing, Some(error), false))?;
        Pending { operation, doing }.finish(self)?;
        Ok(Vec::<Vec<i64>>::try_from(output).expect("a matrix of whole numbers"))
    }

    /// The backend for a tensor, if it can be given to one.
    fn backend(&self, tensor: &Tensor, doing: &'static str) -> Result<&Backend, DistributedError> {
        let problem = |problem: &str| Err(DistributedError::Tensor { doing, problem: problem.into() });
        if !tensor.defined() || tensor.is_sparse() || !tensor.is_contiguous() {
            // Gloo reads the memory from its beginning, whatever the strides.
            return problem("the tensor is not one piece of memory");
        }
        match (tensor.device(), &*self.nccl) {
            (Device::Cpu, _) => Ok(&self.gloo),
            (Device::Cuda(_), Some(nccl)) => Ok(nccl),
            (device, _) => problem(&format!("no backend for tensors on {device:?}")),
        }
    }

    /// Tells the others why this process fails; to be called before it ends with an error of its own.
    pub fn announce(&self, error: &str) {
        if !self.broken.replace(true) {
            let message = if error.is_empty() { "no reason given" } else { error };
            self.roll_call(message);
        }
    }

    /// The error of an operation that failed or took too long: who is to blame.
    fn fault(&self, doing: &'static str, source: Option<C10dError>, late: bool) -> DistributedError {
        let timed_out = late || source.as_ref().is_some_and(|error| error.kind == C10dErrorKind::Timeout);
        let world_size = self.world_size;
        let lost = |ranks, source| DistributedError::PeerLost { ranks, world_size, doing, timed_out, source };
        if self.broken.replace(true) {
            return lost(vec![], source);
        }
        match self.roll_call(NO_FAULT) {
            // Where a process served the store, and it is gone, so is that process.
            None if self.rank != 0 => lost(vec![0], source),
            None => lost(vec![], source),
            Some(signed) => {
                if let Some((rank, Some(message))) =
                    signed.iter().enumerate().find(|(_, text)| text.as_deref().is_some_and(|t| t != NO_FAULT))
                {
                    return DistributedError::PeerFailed { rank, message: message.clone() };
                }
                let absent: Vec<usize> = (0..world_size).filter(|&rank| signed[rank].is_none()).collect();
                match source {
                    source if !absent.is_empty() => lost(absent, source),
                    _ if timed_out => DistributedError::Timeout { doing, timeout: self.timeout },
                    Some(source) => DistributedError::Collective { doing, source },
                    None => lost(vec![], None),
                }
            }
        }
    }

    /// Signs in with a message, and waits for the others. What each signed in with, by rank; `None` where the store is
    /// gone.
    fn roll_call(&self, message: &str) -> Option<Vec<Option<String>>> {
        let (store, prefix, serves) = (self.store.clone(), self.prefix.clone(), self.serves);
        let (rank, world_size, message) = (self.rank, self.world_size, message.to_string());
        let call = move || -> Result<Vec<Option<String>>, C10dError> {
            let key = |what: &str, rank: usize| format!("{prefix}/{what}/{rank}");
            store.set(&key("signed", rank), message.as_bytes())?;
            store.set(&format!("{prefix}/fault"), b"1")?;
            let present = |what: &str, deadline: Instant, of: &[usize]| {
                let mut missing = of.to_vec();
                while !missing.is_empty() {
                    let mut left = Vec::new();
                    for &rank in &missing {
                        if !store.has(&key(what, rank))? {
                            left.push(rank);
                        }
                    }
                    missing = left;
                    if missing.is_empty() || Instant::now() >= deadline {
                        break;
                    }
                    thread::sleep(GLANCE / 4);
                }
                Ok(missing)
            };
            let all: Vec<usize> = (0..world_size).collect();
            let missing = present("signed", Instant::now() + ROLL_CALL, &all)?;
            let mut signed = vec![None; world_size];
            for &rank in all.iter().filter(|rank| !missing.contains(rank)) {
                let text = store.get(&key("signed", rank), ROLL_CALL)?;
                signed[rank] = Some(String::from_utf8_lossy(&text).into_owned());
            }
            store.set(&key("read", rank), b"1")?;
            if serves {
                // The store ends with this process: the others read first.
                let here: Vec<usize> = all.into_iter().filter(|&rank| signed[rank].is_some()).collect();
                present("read", Instant::now() + ROLL_CALL, &here)?;
            }
            Ok(signed)
        };
        within(3 * ROLL_CALL, "", call)?.ok()
    }

    /// Ends the group after the last operation, when all processes have come here.
    ///
    /// # Errors
    /// As for [`ProcessGroup::all_reduce`].
    pub fn close(&self) -> Result<(), DistributedError> {
        self.watch.ended.store(true, Ordering::Relaxed);
        self.barrier("ending together")
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.watch.ended.store(true, Ordering::Relaxed);
        // A backend waits for its operations under way, which do not end when a process is gone.
        if !self.broken.get() && !thread::panicking() {
            // SAFETY: they are not used again.
            unsafe {
                ManuallyDrop::drop(&mut self.nccl);
                ManuallyDrop::drop(&mut self.gloo);
            }
        }
    }
}

/// An operation under way, whose tensor must not be touched until it is finished.
#[derive(Debug)]
pub struct Pending {
    operation: Operation,
    doing: &'static str,
}

impl Pending {
    /// Waits until it is done; on CUDA, makes the current stream wait.
    ///
    /// # Errors
    /// A process is gone or slower than the timeout.
    pub fn finish(self, group: &ProcessGroup) -> Result<(), DistributedError> {
        let started = Instant::now();
        loop {
            match self.operation.wait(GLANCE) {
                Ok(true) => return Ok(()),
                Ok(false) if group.watch.alarm.load(Ordering::Relaxed) => {
                    return Err(group.fault(self.doing, None, false));
                }
                Ok(false) if started.elapsed() < group.timeout => {}
                Ok(false) => return Err(group.fault(self.doing, None, true)),
                Err(error) => return Err(group.fault(self.doing, Some(error), false)),
            }
        }
    }
}

fn mismatch(doing: &'static str, rank: usize, theirs: &[i64], ours: &[i64]) -> DistributedError {
    let text = |header: &[i64]| {
        let name = match header[0] {
            1 => "a sum",
            2 => "a broadcast",
            3 => "a gathering",
            _ => "a comparison",
        };
        format!("{name} of {} elements", header[1])
    };
    DistributedError::Mismatch { doing, rank, theirs: text(theirs), ours: text(ours) }
}

//! `/v2/models/{model}/infer`: a run of a graph, through the queue.
use super::tensor::{Numbers, Port, Values, ports};
use super::{Target, VERSION, binary};
use crate::app::App;
use crate::input::{Whole, parse_json, whole};
use crate::limits::Deadline;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::Request;
use axum::response::Response;
use glow_runtime::{Decoded, EncodeOptions, Encoded, GraphKind, Job, Latents};
use ndarray::{Array4, ArrayBase, Dimension, OwnedRepr};
use serde::Deserialize;
use serde_json::{Map, Value, json as value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

type Parameters = Map<String, Value>;

#[derive(Deserialize)]
struct InferRequest {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    inputs: Vec<InputTensor>,
    #[serde(default)]
    outputs: Vec<OutputTensor>,
}

#[derive(Deserialize)]
struct InputTensor {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(default)]
    data: Option<Numbers>,
}

#[derive(Deserialize)]
struct OutputTensor {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// Runs a graph.
pub(crate) async fn infer(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    target: Target,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let Whole { parts, body, memory } = whole(&app, request).await?;
    let (json, bytes) = binary::divide(&parts.headers, &body)?;
    let request: InferRequest = parse_json(json)?;
    let (inputs, outputs) = ports(target.model.manifest(), target.graph);
    let wanted = wanted(&request, &outputs)?;
    let deadline = deadline.or_earlier(own_deadline(&request.parameters)?.unwrap_or(deadline));
    let (images, tensors) = read(request.inputs, &inputs, bytes, app.options.max_images)?;
    drop((body, memory));
    let values = match target.graph {
        GraphKind::Encoder => encode(&target, images, tensors, deadline).await?,
        GraphKind::Decoder => decode(&target, images, tensors, deadline).await?,
    };
    answer(&target, request.id, &outputs, values, &wanted, images)
}

/// The outputs that are asked for, by their places, and whether each is to be binary.
fn wanted(request: &InferRequest, outputs: &[Port]) -> Result<Vec<(usize, bool)>, Problem> {
    let all = flag(&request.parameters, "binary_data_output")?.unwrap_or(false);
    if request.outputs.len() > outputs.len() {
        return Err(Problem::invalid(format!(
            "there are {} outputs, not {}",
            outputs.len(),
            request.outputs.len()
        )));
    }
    if request.outputs.is_empty() {
        return Ok((0..outputs.len()).map(|place| (place, all)).collect());
    }
    let one = |output: &OutputTensor| {
        refuse(&output.parameters, &output.name)?;
        let place = outputs.iter().position(|port| port.name == output.name);
        let place = place.ok_or_else(|| unknown("output", &output.name, outputs))?;
        Ok((place, flag(&output.parameters, "binary_data")?.unwrap_or(all)))
    };
    let wanted: Vec<(usize, bool)> = request.outputs.iter().map(one).collect::<Result<_, Problem>>()?;
    for (i, (place, _)) in wanted.iter().enumerate() {
        if wanted[..i].iter().any(|(other, _)| other == place) {
            return Err(Problem::invalid(format!("the output {} is asked for twice", outputs[*place].name)));
        }
    }
    Ok(wanted)
}

/// Parameters of Triton's other extensions, which would change what is computed or where it goes.
fn refuse(parameters: &Parameters, tensor: &str) -> Result<(), Problem> {
    for name in ["classification", "shared_memory_region"] {
        if parameters.contains_key(name) {
            return Err(Problem::invalid(format!("the tensor {tensor}: {name} is not offered here")));
        }
    }
    Ok(())
}

fn flag(parameters: &Parameters, name: &str) -> Result<Option<bool>, Problem> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Problem::invalid(format!("the parameter {name} must be true or false"))),
    }
}

/// Triton's parameter `timeout`, in microseconds.
fn own_deadline(parameters: &Parameters) -> Result<Option<Deadline>, Problem> {
    match parameters.get("timeout") {
        None => Ok(None),
        Some(timeout) => match timeout.as_u64() {
            Some(0) => Ok(None),
            Some(microseconds) => Ok(Some(Deadline::after(Duration::from_micros(microseconds)))),
            None => Err(Problem::invalid("the parameter timeout must be a whole number of microseconds")),
        },
    }
}

fn unknown(what: &str, name: &str, ports: &[Port]) -> Problem {
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    Problem::invalid(format!("there is no {what} {name:?}; there are {}", names.join(", ")))
}

/// The number of images, and the values of the inputs by name.
fn read(
    given: Vec<InputTensor>,
    ports: &[Port],
    mut bytes: &[u8],
    most: usize,
) -> Result<(usize, BTreeMap<String, Values>), Problem> {
    let mut images = None;
    let mut tensors = BTreeMap::new();
    for tensor in given {
        let name = tensor.name;
        let port = ports.iter().find(|port| port.name == name);
        let port = port.ok_or_else(|| unknown("input", &name, ports))?;
        refuse(&tensor.parameters, &name)?;
        let wrong = |what: String| Problem::invalid(format!("the input {name}: {what}"));
        if tensor.datatype != port.data_type.name() {
            return Err(wrong(format!(
                "its datatype must be {}, not {:?}",
                port.data_type.name(),
                tensor.datatype
            )));
        }
        let n = match tensor.shape.split_first() {
            Some((&n, sizes)) if sizes == port.sizes => n,
            // Clients of Triton give what has no sizes the size 1.
            Some((&n, [1])) if port.sizes.is_empty() => n,
            _ => {
                let sizes: Vec<String> = port.sizes.iter().map(usize::to_string).collect();
                let shape = std::iter::once("N".to_owned()).chain(sizes).collect::<Vec<_>>().join(", ");
                return Err(wrong(format!("its shape must be [{shape}], not {:?}", tensor.shape)));
            }
        };
        if !(1..=most).contains(&n) {
            return Err(wrong(format!("{n} images; a request has 1 to {most}")));
        }
        if *images.get_or_insert(n) != n {
            return Err(wrong(format!(
                "it is of {n} images, the inputs before it of {}",
                images.unwrap_or(0)
            )));
        }
        let count = n * port.sizes.iter().product::<usize>();
        let values = match (tensor.parameters.get("binary_data_size"), tensor.data) {
            (Some(size), None) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                if size != Some(count * port.data_type.size()) {
                    let expected = count * port.data_type.size();
                    return Err(wrong(format!("its binary_data_size must be {expected}")));
                }
                let (own, rest) = bytes
                    .split_at_checked(count * port.data_type.size())
                    .ok_or_else(|| wrong("the body ends before its bytes do".into()))?;
                bytes = rest;
                Values::from_bytes(port.data_type, own)
            }
            (None, Some(numbers)) if numbers.0.len() == count => {
                Values::from_numbers(port.data_type, &numbers.0, &name)?
            }
            (None, Some(numbers)) => {
                return Err(wrong(format!("it has {} numbers, its shape {count}", numbers.0.len())));
            }
            (Some(_), Some(_)) => return Err(wrong("it has both data and binary_data_size".into())),
            (None, None) => return Err(wrong("it has neither data nor binary_data_size".into())),
        };
        if tensors.insert(name.clone(), values).is_some() {
            return Err(Problem::invalid(format!("the input {name} is given twice")));
        }
    }
    if !bytes.is_empty() {
        return Err(Problem::invalid(format!("{} bytes of the body belong to no input", bytes.len())));
    }
    for port in ports {
        if !port.optional && !tensors.contains_key(&port.name) {
            return Err(Problem::invalid(format!("the input {} is missing", port.name)));
        }
    }
    match images {
        Some(images) => Ok((images, tensors)),
        None => Err(Problem::invalid("there are no inputs")),
    }
}

/// What `read` has checked.
fn checked<T>(value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::internal("an input was not checked"))
}

fn labels(tensors: &mut BTreeMap<String, Values>) -> Option<Vec<i64>> {
    match tensors.remove("label") {
        Some(Values::Int64(labels)) => Some(labels),
        _ => None,
    }
}

async fn encode(
    target: &Target,
    n: usize,
    mut tensors: BTreeMap<String, Values>,
    deadline: Deadline,
) -> Result<Vec<Values>, Problem> {
    let a = target.model.architecture();
    let dim = (n, a.height, a.width, a.channels);
    let labels = labels(&mut tensors);
    let image = match tensors.remove("image") {
        Some(Values::Uint8(values)) => Array4::from_shape_vec(dim, values).ok(),
        _ => None,
    };
    let image = checked(image)?;
    let job = match tensors.remove("noise") {
        Some(Values::Fp32(values)) => {
            Job::encode_with(image, checked(Array4::from_shape_vec(dim, values).ok())?, labels)
        }
        _ => Job::encode(image, EncodeOptions::new().labels(labels)),
    };
    let Encoded { latents, log_prob, .. } = target.model.run(job, deadline).await?;
    let levels = latents.into_levels().into_iter().map(|level| Values::Fp32(flat(level)));
    Ok(levels.chain([Values::Fp32(log_prob)]).collect())
}

async fn decode(
    target: &Target,
    n: usize,
    mut tensors: BTreeMap<String, Values>,
    deadline: Deadline,
) -> Result<Vec<Values>, Problem> {
    let shapes = &target.model.manifest().latent_shapes;
    let labels = labels(&mut tensors);
    let mut levels = Vec::new();
    for (level, shape) in shapes.iter().enumerate() {
        let dim = (n, shape.channels, shape.height, shape.width);
        let array = match tensors.remove(&format!("eps_{level}")) {
            Some(Values::Fp32(values)) => Array4::from_shape_vec(dim, values).ok(),
            _ => None,
        };
        levels.push(checked(array)?);
    }
    let job = Job::decode(Latents::from_levels(levels)?, labels);
    let Decoded { images, x, .. } = target.model.run(job, deadline).await?;
    Ok(vec![Values::Uint8(flat(images)), Values::Fp32(flat(x))])
}

fn flat<T: Clone, D: Dimension>(array: ArrayBase<OwnedRepr<T>, D>) -> Vec<T> {
    array.as_standard_layout().into_owned().into_raw_vec_and_offset().0
}

fn answer(
    target: &Target,
    id: Option<String>,
    ports: &[Port],
    values: Vec<Values>,
    wanted: &[(usize, bool)],
    n: usize,
) -> Result<Response, Problem> {
    let (mut tensors, mut bytes, mut any) = (Vec::new(), Vec::new(), false);
    for &(place, is_binary) in wanted {
        let (port, values) = (&ports[place], &values[place]);
        let shape: Vec<usize> = std::iter::once(n).chain(port.sizes.iter().copied()).collect();
        let mut tensor = value!({ "name": port.name, "datatype": port.data_type.name(), "shape": shape });
        if is_binary {
            let own = values.to_bytes();
            tensor["parameters"] = value!({ "binary_data_size": own.len() });
            bytes.extend(own);
            any = true;
        } else {
            tensor["data"] = values.to_json();
        }
        tensors.push(tensor);
    }
    let mut body = value!({ "model_name": target.name, "model_version": VERSION, "outputs": tensors });
    if let Some(id) = id {
        body["id"] = id.into();
    }
    Ok(binary::response(&body, any.then_some(bytes)))
}

//! What clients send: bodies and query parameters, checked, with errors that name what is wrong.
use crate::app::App;
use crate::model::Loaded;
use crate::problem::Problem;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A request with its whole body.
pub(crate) struct Whole {
    pub parts: Parts,
    pub body: Bytes,
    /// The memory that the body takes, until this is dropped.
    pub memory: OwnedSemaphorePermit,
}

/// Reads a request's body, within the limits of size, memory and time.
pub(crate) async fn whole(app: &App, request: Request<Body>) -> Result<Whole, Problem> {
    let (parts, body) = request.into_parts();
    if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let message = "compressed bodies are not read: send it as it is";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message));
    }
    let most = app.options.max_body;
    let too_large = || {
        let message = format!("the body is larger than {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    let announced = axum::body::HttpBody::size_hint(&body).upper();
    let size = match announced {
        Some(size) => usize::try_from(size).ok().filter(|&size| size <= most).ok_or_else(too_large)?,
        None => most,
    };
    let memory = app.body_memory.take(size)?;
    let read = tokio::time::timeout(app.options.body_timeout, Limited::new(body, most).collect()).await;
    let body = match read {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => return Err(Problem::malformed(format!("the body broke off: {error}"))),
        Err(_) => {
            let message = "the body did not come in time";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message));
        }
    };
    Ok(Whole { parts, body, memory })
}

/// Parts and body of a request that must bring JSON.
pub(crate) async fn json<T: DeserializeOwned>(
    app: &App,
    request: Request<Body>,
) -> Result<(Parts, T), Problem> {
    if !is_media_type(request.headers(), "application/json") {
        let message = "the body must be JSON, with the header Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message));
    }
    let Whole { parts, body, .. } = whole(app, request).await?;
    Ok((parts, parse_json(&body)?))
}

/// The model that the query names, and the body's JSON, of a request without other parameters.
pub(crate) async fn asked<T: DeserializeOwned>(
    app: &App,
    request: Request<Body>,
) -> Result<(Arc<Loaded>, T), Problem> {
    let (parts, body) = json(app, request).await?;
    let mut query = Query::of(&parts)?;
    let model = query.model(app)?;
    query.finish()?;
    Ok((model, body))
}

/// Parses JSON; errors name the place.
pub(crate) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (place, cause) = (error.path().to_string(), error.inner());
        match cause.classify() {
            serde_json::error::Category::Data if place == "." => Problem::invalid(cause.to_string()),
            serde_json::error::Category::Data => Problem::invalid(format!("{place}: {cause}")),
            _ => Problem::malformed(format!("the body cannot be read as JSON: {cause}")),
        }
    })?;
    deserializer
        .end()
        .map_err(|error| Problem::malformed(format!("the body cannot be read as JSON: {error}")))?;
    Ok(value)
}

/// Whether the body is of this media type, whatever its parameters.
pub(crate) fn is_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    media_type(headers).is_some_and(|given| given.eq_ignore_ascii_case(wanted))
}

/// The body's media type without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

/// The parameters of a query. Each is taken once; one that nobody takes is an error, as a misspelled parameter would
/// otherwise do nothing.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub fn of(parts: &Parts) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        for (i, (name, _)) in pairs.iter().enumerate() {
            if pairs[..i].iter().any(|(other, _)| other == name) {
                return Err(Problem::invalid(format!("the parameter {name:?} is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// The text of a parameter.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// A parameter that is `what`.
    pub fn take<T: FromStr>(&mut self, name: &str, what: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = |_| Problem::invalid(format!("{name}={text:?} is not {what}"));
        text.parse().map(Some).map_err(wrong)
    }

    /// The model that the parameter `model` names, or the first.
    pub fn model(&mut self, app: &App) -> Result<Arc<Loaded>, Problem> {
        Ok(app.model(self.text("model").as_deref())?.1)
    }

    /// Refuses what was not taken.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid(format!("there is no parameter {name:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, Problem> {
        Query::of(&Request::get(format!("/?{text}")).body(()).unwrap().into_parts().0)
    }

    #[test]
    fn parameters_are_taken_once_and_all() {
        let mut all = query("count=3&format=png&model=a%20b").unwrap();
        assert_eq!(all.take::<usize>("count", "a number").unwrap(), Some(3));
        assert_eq!(all.take::<usize>("count", "a number").unwrap(), None);
        assert_eq!(all.text("model").as_deref(), Some("a b"));
        assert_eq!(all.finish().unwrap_err().message, "there is no parameter \"format\"");
        assert!(query("").unwrap().finish().is_ok());
        assert!(query("a=1&b=2&a=1").is_err());
        let wrong = query("count=-3").unwrap().take::<usize>("count", "a whole number");
        assert_eq!(wrong.unwrap_err().message, "count=\"-3\" is not a whole number");
    }

    #[test]
    fn json_is_named_where_it_is_wrong() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Inner {
            #[serde(rename = "x")]
            _x: f32,
        }
        type Outer = std::collections::BTreeMap<String, Inner>;
        assert!(parse_json::<Outer>(b"{\"a\": {\"x\": 1}}").is_ok());
        for (body, status, part) in [
            ("{\"a\": {\"x\": \"1\"}}", 422, "a.x"),
            ("{\"a\": {\"y\": 1}}", 422, "unknown field `y`"),
            ("[]", 422, "expected a map"),
            ("{\"a\":", 400, "as JSON"),
            ("{} {}", 400, "as JSON"),
            ("", 400, "as JSON"),
            ("\u{feff}{}", 400, "as JSON"),
        ] {
            let problem = parse_json::<Outer>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.status, status, "{body}");
            assert!(problem.message.contains(part), "{body}: {}", problem.message);
        }
    }
}

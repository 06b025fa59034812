//! JSON that is parsed or written elsewhere, described for the OpenAPI document: `serving` writes answers
//! directly as bytes, and parses the rows of a request in place. `tests/api` checks every answer that it gets
//! against these descriptions.
#![expect(dead_code, reason = "descriptions only: the types they describe are parsed and written elsewhere")]

mod activity;
mod predictions;
mod streams;

pub(crate) use activity::Activity;
pub(crate) use predictions::{Code, PredictAnswer, PredictLine, PredictRequest, Recalled};
pub(crate) use streams::{
    ForgetAnswer, ForgetRequest, MemoryAnswer, ObserveAnswer, ObserveLine, ObserveRequest, StreamAnswer,
};

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type,
};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A row: a value by the name of each column.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row;

impl PartialSchema for Row {
    fn schema() -> RefOr<Schema> {
        let row = ObjectBuilder::new().schema_type(Type::Object);
        let row = row.additional_properties(Some(AdditionalProperties::FreeForm(true)));
        row.description(Some("A value by the name of each column.")).into()
    }
}

impl ToSchema for Row {}

/// A label in the type and spelling of the training data.
#[derive(Serialize, Deserialize)]
pub(crate) struct Label;

impl PartialSchema for Label {
    fn schema() -> RefOr<Schema> {
        let of = |kind| ObjectBuilder::new().schema_type(kind);
        let label = [Type::String, Type::Number, Type::Boolean]
            .map(of)
            .into_iter()
            .fold(OneOfBuilder::new(), OneOfBuilder::item);
        label.description(Some("A label, with the type and spelling of the training data.")).into()
    }
}

impl ToSchema for Label {}

/// A file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Binary;

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Binary {}

/// A character encoding by its name in the WHATWG Encoding Standard.
pub(crate) struct EncodingName;

/// The names of all encodings, in lower case; the standard's other labels for them are read, too.
const ENCODINGS: [&str; 38] = [
    "utf-8",
    "utf-16le",
    "utf-16be",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
    "windows-874",
    "iso-8859-2",
    "iso-8859-3",
    "iso-8859-4",
    "iso-8859-5",
    "iso-8859-6",
    "iso-8859-7",
    "iso-8859-8",
    "iso-8859-8-i",
    "iso-8859-10",
    "iso-8859-13",
    "iso-8859-14",
    "iso-8859-15",
    "iso-8859-16",
    "ibm866",
    "koi8-r",
    "koi8-u",
    "macintosh",
    "x-mac-cyrillic",
    "big5",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "gbk",
    "iso-2022-jp",
    "shift_jis",
];

impl PartialSchema for EncodingName {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(ENCODINGS)).into()
    }
}

impl ToSchema for EncodingName {}

/// Rows as a JSON body: an array of objects.
pub(crate) struct JsonRows;

impl PartialSchema for JsonRows {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(Row::schema()).description(Some("An array of rows.")).into()
    }
}

impl ToSchema for JsonRows {}

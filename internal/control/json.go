package control

import (
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/ipfs/go-cid"
)

// Public types are their own JSON, by the tags of their fields: encoding/json/v2
// (github.com/go-json-experiment/json is its mirror for Go 1.26) takes the form
// of foreign types as an option. Otherwise it writes what encoding/json writes.
//
//   - A CID is a string; the undefined one is empty.
//   - A duration is a number of seconds.
//   - An error is its message, the kind of an event its name.
//   - A cairn.NameRecord has its fields for the reader, and its bytes, from which
//     it is read: a daemon can't change what the owner signed.

var options = json.JoinOptions(
	jsonv1.DefaultOptionsV1(),
	json.MatchCaseInsensitiveNames(false),
	json.WithMarshalers(json.JoinMarshalers(
		json.MarshalToFunc(func(e *jsontext.Encoder, c cid.Cid) error {
			text := ""
			if c.Defined() {
				text = c.String()
			}
			return e.WriteToken(jsontext.String(text))
		}),
		json.MarshalToFunc(func(e *jsontext.Encoder, d time.Duration) error {
			return json.MarshalEncode(e, d.Seconds())
		}),
		json.MarshalToFunc(func(e *jsontext.Encoder, r cairn.NameRecord) error {
			return json.MarshalEncode(e, plainRecord(ShowRecord(r)))
		}),
		json.MarshalToFunc(func(e *jsontext.Encoder, k store.EventKind) error {
			return e.WriteToken(jsontext.String(k.String()))
		}),
		json.MarshalToFunc(func(e *jsontext.Encoder, err error) error {
			return e.WriteToken(jsontext.String(err.Error()))
		}),
	)),
	json.WithUnmarshalers(json.JoinUnmarshalers(
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, c *cid.Cid) (err error) {
			var text string
			if err := json.UnmarshalDecode(d, &text); err != nil {
				return err
			}
			*c = cid.Undef
			if text != "" {
				*c, err = cid.Decode(text)
			}
			return err
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, to *time.Duration) error {
			var seconds float64
			if err := json.UnmarshalDecode(d, &seconds); err != nil {
				return err
			}
			n := math.Round(seconds * float64(time.Second))
			if !(math.Abs(n) < math.MaxInt64) {
				return fmt.Errorf("invalid duration %g: want seconds that fit into 292 years", seconds)
			}
			*to = time.Duration(n)
			return nil
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, r *cairn.NameRecord) (err error) {
			var signed struct {
				Name   string `json:"name"`
				Record []byte `json:"record"`
			}
			if err := json.UnmarshalDecode(d, &signed); err != nil {
				return err
			}
			*r, err = cairn.NameRecord{}, nil
			if len(signed.Record) > 0 {
				*r, err = cairn.ParseNameRecord(signed.Name, signed.Record)
			}
			return err
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, to *store.EventKind) error {
			var text string
			if err := json.UnmarshalDecode(d, &text); err != nil {
				return err
			}
			for kind := store.EventAlias; kind <= store.EventEvicted; kind++ {
				if kind.String() == text {
					*to = kind
				}
			}
			return nil
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, to *error) error {
			var text string
			if err := json.UnmarshalDecode(d, &text); err != nil {
				return err
			}
			*to = &Error{Message: text}
			return nil
		}),
	)),
)

// A plainRecord is a cairn.NameRecord whose fields are its JSON as they are.
type plainRecord cairn.NameRecord

// ShowRecord returns a record as JSON has it: its validity in UTC, and bytes among
// the metadata as in DAG-JSON.
func ShowRecord(r cairn.NameRecord) cairn.NameRecord {
	r.Validity, r.Metadata = r.Validity.UTC(), maps.Clone(r.Metadata)
	for key, v := range r.Metadata {
		if data, isBytes := v.([]byte); isBytes {
			r.Metadata[key] = map[string]any{"/": map[string][]byte{"bytes": data}}
		}
	}
	return r
}

// JSON encodes a value as the API and the command line print it, without a line
// end.
func JSON(v any) ([]byte, error) { return json.Marshal(v, options) }

// decodeArguments decodes arguments: a name that no argument has is an error.
func decodeArguments(text []byte, to any) error {
	return json.Unmarshal(text, to, options, json.RejectUnknownMembers(true))
}

// decodeResult decodes a result, in which a later daemon may say more.
func decodeResult(text []byte, to any) error { return json.Unmarshal(text, to, options) }

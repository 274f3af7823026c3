package names

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/libp2p/go-libp2p/core/crypto"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// MaxRecord is the largest record, in bytes (IPNS record, "record size
	// limit").
	MaxRecord = ipns.MaxRecordSize

	// MaxSequence is the highest sequence that a record can have here: other
	// implementations read it as a signed number.
	MaxSequence = math.MaxInt64

	// DefaultLifetime is how long a record is valid if nothing else is said.
	// Nodes of the DHT drop records after 48 hours, whatever their lifetime,
	// but whoever follows a name brings them back; so a name outlives a
	// publisher that is gone for less than a month.
	DefaultLifetime = 30 * 24 * time.Hour

	// DefaultTTL is how long a record may be cached if nothing else is said,
	// as the specification suggests.
	DefaultTTL = 5 * time.Minute

	// maxLifetime bounds lifetimes: beyond it a duration is a slip of the pen.
	maxLifetime = 100 * 365 * 24 * time.Hour

	// dataField is the field of the protobuf that is signed.
	dataField = 9
)

// Fields are what a record says.
type Fields struct {
	// Value is the path that the name leads to: /ipfs/…, or /ipns/… of another
	// name or a domain.
	Value string
	// Sequence is the version; at most MaxSequence.
	Sequence uint64
	// Validity is when the record expires.
	Validity time.Time
	// TTL is how long it may be cached.
	TTL time.Duration
	// Metadata are further signed fields, flat: string, []byte, int64, int or
	// bool under keys that begin with an underscore. nil: none.
	Metadata map[string]any
}

// A Record is a record of a name, signed by the name's key. It may have
// expired. It is immutable.
type Record struct {
	name     Name
	raw      []byte
	signed   []byte // the part of raw that the signature covers
	value    string
	valueErr error
	sequence uint64
	validity time.Time
	ttl      time.Duration
	// What is decoded isn't held: it has several times the size of the bytes, and
	// those of many records are remembered.
}

// NewRecord makes and signs a record. It carries the old signature, too, as
// today's publishers do.
func NewRecord(key crypto.PrivKey, f Fields) (*Record, error) {
	name, err := NameOf(key.GetPublic())
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Record, error) {
		return nil, fmt.Errorf("names: new record of %s: %w", name, err)
	}
	value, err := path.NewPath(f.Value)
	if err != nil {
		return fail(fmt.Errorf("value %.100q: %w: %w", f.Value, ErrInvalid, err))
	}
	if f.Sequence > MaxSequence {
		return fail(fmt.Errorf("%w: sequence %d is above %d", ErrInvalid, f.Sequence, uint64(MaxSequence)))
	}
	if f.TTL < 0 {
		return fail(fmt.Errorf("%w: a TTL of %v", ErrInvalid, f.TTL))
	}
	for k := range f.Metadata {
		if !strings.HasPrefix(k, "_") {
			return fail(fmt.Errorf("%w: the field %q must begin with an underscore", ErrInvalid, k))
		}
	}
	record, err := ipns.NewRecord(key, value, f.Sequence, f.Validity, f.TTL, ipns.WithMetadata(f.Metadata))
	if err != nil {
		return fail(err)
	}
	raw, err := ipns.MarshalRecord(record)
	if err != nil {
		return fail(err)
	}
	if len(raw) > MaxRecord {
		return fail(fmt.Errorf("%w: it has %d bytes, and the limit is %d", ErrInvalid, len(raw), MaxRecord))
	}
	return ParseRecord(name, raw)
}

// ParseRecord reads a record and checks that the name's key signed it and that
// all the specification asks for holds, but for the time: an expired record is
// read, too, and Valid says so. It fails with ErrInvalid.
func ParseRecord(name Name, data []byte) (*Record, error) {
	fail := func(err error) (*Record, error) {
		return nil, fmt.Errorf("names: record of %s: %w: %w", name, ErrInvalid, err)
	}
	if name.hash == "" {
		return fail(errors.New("no name"))
	}
	if len(data) > MaxRecord {
		return fail(fmt.Errorf("it has %d bytes, and the limit is %d", len(data), MaxRecord))
	}
	r := &Record{name: name, raw: bytes.Clone(data)}
	decoded, err := ipns.UnmarshalRecord(r.raw)
	if err != nil {
		return fail(err)
	}
	// What is checked last is the time.
	err = ipns.ValidateWithName(decoded, ipns.NameFromPeer(name.Peer()))
	if err != nil && !errors.Is(err, ipns.ErrExpiredRecord) {
		return fail(err)
	}
	if r.signed = signedPart(r.raw); r.signed == nil {
		return fail(ipns.ErrDataMissing)
	}
	f, err := fieldsOf(decoded)
	if err != nil {
		return fail(err)
	}
	r.sequence, r.validity, r.ttl = f.Sequence, f.Validity, f.TTL
	// A value for somebody else's use is no fault of the record's.
	if value, err := decoded.Value(); err != nil {
		r.valueErr = fmt.Errorf("names: value of %s: %w: %w", name, ErrInvalid, err)
	} else {
		r.value = value.String()
	}
	return r, nil
}

// fieldsOf reads what a record says, but for its value and metadata.
func fieldsOf(r *ipns.Record) (f Fields, err error) {
	if f.Validity, err = r.Validity(); err != nil {
		return f, err
	}
	if f.Sequence, err = r.Sequence(); err != nil {
		return f, err
	}
	if f.Sequence > MaxSequence {
		return f, errors.New("a negative sequence")
	}
	if f.TTL, err = r.TTL(); err != nil {
		return f, err
	}
	if f.TTL < 0 {
		return f, errors.New("a negative TTL")
	}
	return f, nil
}

// Inspect tells what the bytes of a record say, without its name and so without
// knowing who signed them. The value is empty if it's no path. It fails with
// ErrInvalid.
func Inspect(data []byte) (Fields, error) {
	if len(data) > MaxRecord {
		return Fields{}, fmt.Errorf("names: a record of %d bytes: %w: the limit is %d", len(data), ErrInvalid, MaxRecord)
	}
	r, err := ipns.UnmarshalRecord(data)
	if err != nil {
		return Fields{}, fmt.Errorf("names: record: %w: %w", ErrInvalid, err)
	}
	f, err := fieldsOf(r)
	if err != nil {
		return Fields{}, fmt.Errorf("names: record: %w: %w", ErrInvalid, err)
	}
	if value, err := r.Value(); err == nil {
		f.Value = value.String()
	}
	for key, v := range metadataOf(r) {
		if f.Metadata == nil {
			f.Metadata = make(map[string]any)
		}
		f.Metadata[key] = v
	}
	return f, nil
}

// signedPart finds the bytes that the signature covers: like a decoder, the
// last field of that number.
func signedPart(raw []byte) (data []byte) {
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(number, kind, raw); n < 0 {
			return nil
		}
		if number == dataField && kind == protowire.BytesType {
			data, _ = protowire.ConsumeBytes(raw)
		}
		raw = raw[n:]
	}
	return data
}

// Name is the name that the record is of.
func (r *Record) Name() Name { return r.name }

// Bytes are the record as it came, to be passed on unchanged. They are shared:
// nobody may change them.
func (r *Record) Bytes() []byte { return r.raw }

// Value is the path that the name leads to; it fails with ErrInvalid if the
// record has something else there.
func (r *Record) Value() (string, error) { return r.value, r.valueErr }

// Sequence is the version.
func (r *Record) Sequence() uint64 { return r.sequence }

// Validity is when the record expires.
func (r *Record) Validity() time.Time { return r.validity }

// TTL is how long the record may be cached.
func (r *Record) TTL() time.Duration { return r.ttl }

// Valid fails with ErrExpired if the record isn't valid any more.
func (r *Record) Valid(now time.Time) error {
	if now.After(r.validity) {
		return fmt.Errorf("names: record of %s, sequence %d: %w on %s", r.name, r.sequence, ErrExpired, r.validity.Format(time.RFC3339))
	}
	return nil
}

// Metadata lists the further signed fields that are scalars, as string,
// []byte, int64 or bool.
func (r *Record) Metadata() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		decoded, err := ipns.UnmarshalRecord(r.raw)
		if err != nil {
			return // ParseRecord has seen that it can be
		}
		metadataOf(decoded)(yield)
	}
}

func metadataOf(r *ipns.Record) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for key, v := range r.MetadataEntries() {
			var value any
			var err error
			switch v.Kind() {
			case ipns.MetadataKindString:
				value, err = v.AsString()
			case ipns.MetadataKindBytes:
				value, err = v.AsBytes()
			case ipns.MetadataKindInt:
				value, err = v.AsInt()
			case ipns.MetadataKindBool:
				value, err = v.AsBool()
			default:
				continue
			}
			if err == nil && !yield(key, value) {
				return
			}
		}
	}
}

// Compare is above zero if r is the better of two records of a name: the
// higher sequence, then the longer validity, then the higher signed bytes, so
// that all nodes choose alike. Zero: they say the same, whatever else the
// bytes of one may carry.
func (r *Record) Compare(other *Record) int {
	return cmp.Or(
		cmp.Compare(r.sequence, other.sequence),
		r.validity.Compare(other.validity),
		bytes.Compare(r.signed, other.signed),
	)
}

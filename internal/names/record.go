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

	// MaxSequence is the highest sequence accepted: other implementations read
	// it as a signed number.
	MaxSequence = math.MaxInt64

	// DefaultLifetime is how long a record is valid by default. DHT nodes drop
	// records after 48 hours, whatever their lifetime, but every follower of a
	// name puts them back. So a name outlives an absence of its publisher of
	// less than a month.
	DefaultLifetime = 30 * 24 * time.Hour

	// DefaultTTL is how long a record may be cached by default, as the
	// specification suggests.
	DefaultTTL = 5 * time.Minute

	// maxLifetime bounds lifetimes: a longer one is a mistake.
	maxLifetime = 100 * 365 * 24 * time.Hour

	// dataField is the number of the protobuf field that is signed.
	dataField = 9
)

// Fields are the contents of a record.
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
	// Metadata holds further signed fields, flat: string, []byte, int64, int or
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
	// The decoded form isn't kept: it has several times the size of the bytes,
	// and the cache holds many records.
}

// NewRecord makes and signs a record. It has the V1 signature, too, as today's
// publishers write it.
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
		return fail(fmt.Errorf("sequence %d: %w: want %d at most", f.Sequence, ErrInvalid, uint64(MaxSequence)))
	}
	if f.TTL < 0 {
		return fail(fmt.Errorf("TTL %v: %w: want 0 or more", f.TTL, ErrInvalid))
	}
	for k := range f.Metadata {
		if !strings.HasPrefix(k, "_") {
			return fail(fmt.Errorf("field %q: %w: want a key that begins with an underscore", k, ErrInvalid))
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
		return fail(fmt.Errorf("%w: %d bytes, want %d at most", ErrInvalid, len(raw), MaxRecord))
	}
	return ParseRecord(name, raw)
}

// ParseRecord parses a record and verifies it by the specification, above all
// that the name's key signed it. It also accepts an expired record; Valid checks
// that. It fails with ErrInvalid.
func ParseRecord(name Name, data []byte) (*Record, error) {
	fail := func(err error) (*Record, error) {
		return nil, fmt.Errorf("names: record of %s: %w: %w", name, ErrInvalid, err)
	}
	if name.hash == "" {
		return fail(errors.New("the name is empty"))
	}
	if len(data) > MaxRecord {
		return fail(fmt.Errorf("%d bytes, want %d at most", len(data), MaxRecord))
	}
	r := &Record{name: name, raw: bytes.Clone(data)}
	decoded, err := ipns.UnmarshalRecord(r.raw)
	if err != nil {
		return fail(err)
	}
	// Boxo checks the expiry last, after all else.
	err = ipns.ValidateWithName(decoded, ipns.NameFromPeer(name.Peer()))
	if err != nil && !errors.Is(err, ipns.ErrExpiredRecord) {
		return fail(err)
	}
	if r.signed = findSigned(r.raw); r.signed == nil {
		return fail(ipns.ErrDataMissing)
	}
	f, err := readFields(decoded)
	if err != nil {
		return fail(err)
	}
	r.sequence, r.validity, r.ttl = f.Sequence, f.Validity, f.TTL
	// A value that is not a path doesn't make the record invalid.
	if value, err := decoded.Value(); err != nil {
		r.valueErr = fmt.Errorf("names: value of %s: %w: %w", name, ErrInvalid, err)
	} else {
		r.value = value.String()
	}
	return r, nil
}

// readFields reads a record's fields, except value and metadata.
func readFields(r *ipns.Record) (f Fields, err error) {
	if f.Validity, err = r.Validity(); err != nil {
		return f, err
	}
	if f.Sequence, err = r.Sequence(); err != nil {
		return f, err
	}
	if f.Sequence > MaxSequence {
		return f, errors.New("the sequence is negative")
	}
	if f.TTL, err = r.TTL(); err != nil {
		return f, err
	}
	if f.TTL < 0 {
		return f, errors.New("the TTL is negative")
	}
	return f, nil
}

// Inspect parses a record without its name, and so without verifying its
// signature. The value is empty if it is not a path. It fails with ErrInvalid.
func Inspect(data []byte) (Fields, error) {
	if len(data) > MaxRecord {
		return Fields{}, fmt.Errorf("names: record of %d bytes: %w: want %d at most", len(data), ErrInvalid, MaxRecord)
	}
	r, err := ipns.UnmarshalRecord(data)
	if err != nil {
		return Fields{}, fmt.Errorf("names: record: %w: %w", ErrInvalid, err)
	}
	f, err := readFields(r)
	if err != nil {
		return Fields{}, fmt.Errorf("names: record: %w: %w", ErrInvalid, err)
	}
	if value, err := r.Value(); err == nil {
		f.Value = value.String()
	}
	for key, v := range readMetadata(r) {
		if f.Metadata == nil {
			f.Metadata = make(map[string]any)
		}
		f.Metadata[key] = v
	}
	return f, nil
}

// findSigned returns the bytes that the signature covers: like a decoder, the
// last field of that number.
func findSigned(raw []byte) (data []byte) {
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

// Name returns the record's name.
func (r *Record) Name() Name { return r.name }

// Bytes returns the record as received, to be passed on unchanged. The bytes are
// shared; do not modify them.
func (r *Record) Bytes() []byte { return r.raw }

// Value returns the path that the name leads to. It fails with ErrInvalid if the
// value is not a path.
func (r *Record) Value() (string, error) { return r.value, r.valueErr }

// Sequence returns the record's version.
func (r *Record) Sequence() uint64 { return r.sequence }

// Validity returns when the record expires.
func (r *Record) Validity() time.Time { return r.validity }

// TTL returns how long the record may be cached.
func (r *Record) TTL() time.Duration { return r.ttl }

// Valid fails with ErrExpired if the record has expired by now.
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
			return // impossible: ParseRecord has decoded it
		}
		readMetadata(decoded)(yield)
	}
}

func readMetadata(r *ipns.Record) iter.Seq2[string, any] {
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

// Compare returns a positive number if r is the better of two records of a name:
// the one with the higher sequence, then the later end, then the higher signed
// bytes, so that all nodes choose alike. Zero: their signed fields are equal.
func (r *Record) Compare(other *Record) int {
	return cmp.Or(
		cmp.Compare(r.sequence, other.sequence),
		r.validity.Compare(other.validity),
		bytes.Compare(r.signed, other.signed),
	)
}

package cairn

import (
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn/internal/names"
)

// Errors of names.
var (
	// ErrNameNotFound: nobody who was asked has a valid record of the name, the
	// domain has no DNSLink, or there is no such key.
	ErrNameNotFound = names.ErrNotFound
	// ErrNameInvalid: it is no name, no path, no record, or one that another key
	// signed.
	ErrNameInvalid = names.ErrInvalid
	// ErrNameExpired: the record was valid once.
	ErrNameExpired = names.ErrExpired
	// ErrRollback: the sequence is lower than one that was seen before.
	ErrRollback = names.ErrRollback
	// ErrNameLoop: names lead to each other in a circle, or over too many steps.
	ErrNameLoop = names.ErrTooDeep
	// ErrNotSent: the record is signed and kept here, nobody else took it yet,
	// and it is sent again while the node is online.
	ErrNotSent = names.ErrNotSent
)

// What PublishOptions leave open.
const (
	DefaultNameLifetime = names.DefaultLifetime // 30 days
	DefaultNameTTL      = names.DefaultTTL      // five minutes
)

// MaxNameRecord is the largest record of a name, in bytes.
const MaxNameRecord = names.MaxRecord

// A NameRecord is what the owner of a name signed.
type NameRecord struct {
	// Name is the IPNS name: k51…
	Name string `json:"name,omitempty"`
	// Value is the path that the name leads to. Empty: it is something else.
	Value string `json:"value"`
	// Sequence is the version: of two records the higher one counts.
	Sequence uint64 `json:"sequence"`
	// Validity is when the record expires.
	Validity time.Time `json:"validity"`
	// TTL is how long it may be cached.
	TTL time.Duration `json:"ttl"`
	// Metadata are further signed fields: string, []byte, int64 or bool.
	Metadata map[string]any `json:"metadata,omitempty"`
	// Raw is the signed record.
	Raw []byte `json:"record"`
}

func newNameRecord(r *names.Record) NameRecord {
	out := NameRecord{
		Name: r.Name().String(), Sequence: r.Sequence(), Validity: r.Validity(), TTL: r.TTL(), Raw: append([]byte{}, r.Bytes()...),
	}
	if value, err := r.Value(); err == nil {
		out.Value = value
	}
	for key, v := range r.Metadata() {
		if out.Metadata == nil {
			out.Metadata = make(map[string]any)
		}
		out.Metadata[key] = v
	}
	return out
}

// Valid fails with ErrNameExpired if the record isn't valid at that time.
func (r NameRecord) Valid(now time.Time) error {
	if now.After(r.Validity) {
		return fmt.Errorf("the record of %s, sequence %d: %w on %s", r.Name, r.Sequence, ErrNameExpired, r.Validity.Format(time.RFC3339))
	}
	return nil
}

// ParseNameRecord reads a record of a name, and checks that the name's key
// signed it; an expired one is read, too. Errors: ErrNameInvalid.
func ParseNameRecord(name string, raw []byte) (NameRecord, error) {
	parsed, err := names.ParseName(name)
	if err != nil {
		return NameRecord{}, err
	}
	r, err := names.ParseRecord(parsed, raw)
	if err != nil {
		return NameRecord{}, err
	}
	return newNameRecord(r), nil
}

// InspectNameRecord tells what a record says without knowing of which name it is,
// and so without knowing who signed it: Name is empty. Errors: ErrNameInvalid.
func InspectNameRecord(raw []byte) (NameRecord, error) {
	f, err := names.Inspect(raw)
	if err != nil {
		return NameRecord{}, err
	}
	return NameRecord{
		Value: f.Value, Sequence: f.Sequence, Validity: f.Validity, TTL: f.TTL, Metadata: f.Metadata, Raw: append([]byte{}, raw...),
	}, nil
}

package cairn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cairn-ipfs/cairn/internal/ipld"
	"github.com/cairn-ipfs/cairn/internal/names"
)

// Errors of names.
var (
	// ErrNameNotFound: no valid record of the name was found, the domain has no
	// DNSLink, or the text is neither a name nor that of a key.
	ErrNameNotFound = names.ErrNotFound
	// ErrNameInvalid: a name, path or record cannot be parsed, or another key
	// signed the record.
	ErrNameInvalid = names.ErrInvalid
	// ErrNameExpired: the record is no longer valid.
	ErrNameExpired = names.ErrExpired
	// ErrRollback: the sequence is lower than one seen before.
	ErrRollback = names.ErrRollback
	// ErrNameLoop: names lead in a circle, or over too many steps.
	ErrNameLoop = names.ErrTooDeep
	// ErrNotSent: the record is stored here, but was sent nowhere yet. The node
	// tries again while it is online.
	ErrNotSent = names.ErrNotSent
)

// Defaults of PublishOptions.
const (
	DefaultNameLifetime = names.DefaultLifetime // 30 days
	DefaultNameTTL      = names.DefaultTTL      // five minutes
)

// MaxNameRecord is the size of the largest record, in bytes.
const MaxNameRecord = names.MaxRecord

// A NameRecord is a signed IPNS record (https://specs.ipfs.tech/ipns/ipns-record/).
type NameRecord struct {
	// Name is the IPNS name: k51…
	Name string `json:"name,omitempty"`
	// Value is the path that the name leads to. Empty: the value is no path.
	Value string `json:"value"`
	// Sequence is the version. The record with the highest one is in force.
	Sequence uint64 `json:"sequence"`
	// Validity is when the record expires.
	Validity time.Time `json:"validity"`
	// TTL is how long the record may be cached.
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

// Valid returns ErrNameExpired if the record is not valid at that time.
func (r NameRecord) Valid(now time.Time) error {
	if now.After(r.Validity) {
		return fmt.Errorf("the record of %s, sequence %d: %w on %s", r.Name, r.Sequence, ErrNameExpired, r.Validity.Format(time.RFC3339))
	}
	return nil
}

// ParseNameRecord parses a record, and checks that the name's key signed it. It
// accepts an expired record. Errors: ErrNameInvalid.
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

// InspectNameRecord parses a record of an unknown name. It cannot check the
// signature, and leaves Name empty. Errors: ErrNameInvalid.
func InspectNameRecord(raw []byte) (NameRecord, error) {
	f, err := names.Inspect(raw)
	if err != nil {
		return NameRecord{}, err
	}
	return NameRecord{
		Value: f.Value, Sequence: f.Sequence, Validity: f.Validity, TTL: f.TTL, Metadata: f.Metadata, Raw: append([]byte{}, raw...),
	}, nil
}

// PublishOptions configure PublishName. The zero value is fine.
type PublishOptions struct {
	// Lifetime is how long the record is valid. Zero: DefaultNameLifetime. An open
	// node that is online renews the record before it expires.
	Lifetime time.Duration `json:"lifetime,omitzero"`
	// TTL is how long resolvers may cache the record. Zero: DefaultNameTTL.
	TTL time.Duration `json:"ttl,omitzero"`
	// Sequence has to be above all in use. Zero: the next one.
	Sequence uint64 `json:"sequence,omitempty"`
	// Metadata are further signed fields: string, []byte, int64, int or bool,
	// under keys that begin with an underscore.
	Metadata map[string]any `json:"metadata,omitempty"`
	// Offline neither looks up the highest sequence nor sends the record now.
	Offline bool `json:"offline,omitempty"`
}

// PublishName makes a name lead to a path, /ipfs/… or /ipns/…, or a CID. The key
// is given by its name or id; empty is the node's identity.
//
// A lookup finds the highest sequence in use first. The new record is made
// durable, and then sent: to the DHT or delegated routers, and to the peers that
// follow the name. If none accepts it, as when the node is offline, PublishName
// returns the record with an error that wraps ErrNotSent, and the node sends it
// later. Errors: ErrNameInvalid, ErrKeyNotFound, ErrPassphrase,
// ErrRollback.
func (n *Node) PublishName(ctx context.Context, key, path string, o PublishOptions) (NameRecord, error) {
	if key == "" {
		key = SelfKey
	}
	keys, err := n.Keys()
	if err != nil {
		return NameRecord{}, err
	}
	private, err := keys.keys.Get(key)
	if err != nil {
		return NameRecord{}, err
	}
	value, err := contentPath(path)
	if err != nil {
		return NameRecord{}, err
	}
	m, err := n.naming(ctx)
	if err != nil {
		return NameRecord{}, err
	}
	return recordOf(m.Publish(ctx, private, names.Publication{
		Value: value, Lifetime: o.Lifetime, TTL: o.TTL, Sequence: o.Sequence, Metadata: o.Metadata, Offline: o.Offline,
	}))
}

// contentPath returns a path, a URL of content or a CID in the form /ipfs/… or
// /ipns/….
func contentPath(s string) (string, error) {
	p, err := ipld.ParsePath(s)
	switch {
	case err == nil:
		return p.Text, nil
	case strings.HasPrefix(s, "/"):
		return s, nil // package names says what is wrong with it
	}
	return "", fmt.Errorf("invalid path %.200q: %w: want a CID, /ipfs/CID or /ipns/NAME: %w", s, ErrNameInvalid, err)
}

// recordOf converts a record, also one that comes with ErrNotSent.
func recordOf(r *names.Record, err error) (NameRecord, error) {
	if r == nil {
		return NameRecord{}, err
	}
	return newNameRecord(r), err
}

// PutNameRecord stores a signed record, and sends it unchanged. If none accepts
// it, the record is stored all the same and the error wraps ErrNotSent. Errors:
// ErrNameInvalid, ErrNameExpired, ErrRollback.
func (n *Node) PutNameRecord(ctx context.Context, name string, raw []byte) (NameRecord, error) {
	m, parsed, err := n.namingOf(ctx, name)
	if err != nil {
		return NameRecord{}, err
	}
	return recordOf(m.Put(ctx, parsed, raw))
}

// FollowName makes the node follow a name, also after a restart. It receives new
// records at once (IPNS over PubSub), offers peers the one that it has, and keeps
// the record alive in the DHT, unchanged.
func (n *Node) FollowName(ctx context.Context, name string) error {
	return n.withNames(ctx, name, func(m *names.Names, parsed names.Name) error {
		if err := m.Follow(ctx, parsed); err != nil {
			return err
		}
		if _, err := n.network(ctx); err != nil && !errors.Is(err, ErrOffline) {
			return err
		}
		return nil
	})
}

// UnfollowName undoes FollowName. The node keeps the record that it has.
func (n *Node) UnfollowName(ctx context.Context, name string) error {
	return n.withNames(ctx, name, func(m *names.Names, parsed names.Name) error { return m.Unfollow(ctx, parsed) })
}

// WithdrawName stops renewing the records published under a name. Records in the
// network stay valid until they expire.
func (n *Node) WithdrawName(ctx context.Context, name string) error {
	return n.withNames(ctx, name, func(m *names.Names, parsed names.Name) error { return m.Withdraw(ctx, parsed) })
}

// ForgetName deletes the record of a name and the highest sequence seen. The name
// is no longer followed or renewed, and a record with a lower sequence is accepted
// again, as from an owner who lost the count.
func (n *Node) ForgetName(ctx context.Context, name string) error {
	return n.withNames(ctx, name, func(m *names.Names, parsed names.Name) error { return m.Forget(ctx, parsed) })
}

func (n *Node) withNames(ctx context.Context, name string, do func(*names.Names, names.Name) error) error {
	m, parsed, err := n.namingOf(ctx, name)
	if err != nil {
		return err
	}
	return do(m, parsed)
}

// NameUpdates yields the stored record of a followed or published name, if it is
// valid, and then each newer one. A slow caller misses all but the newest. Last it
// yields the error that ended it: that of ctx; ErrNameNotFound if the name is not
// followed, or no longer; store.ErrClosed.
func (n *Node) NameUpdates(ctx context.Context, name string) iter.Seq2[NameRecord, error] {
	return func(yield func(NameRecord, error) bool) {
		m, parsed, err := n.namingOf(ctx, name)
		if err != nil {
			yield(NameRecord{}, err)
			return
		}
		for r, err := range m.Updates(ctx, parsed) {
			record, err := recordOf(r, err)
			if !yield(record, closedError(err)) {
				return
			}
		}
	}
}

// namingOf parses a name, and opens what resolves it.
func (n *Node) namingOf(ctx context.Context, name string) (*names.Names, names.Name, error) {
	parsed, err := n.nameOf(name)
	if err != nil {
		return nil, names.Name{}, err
	}
	m, err := n.naming(ctx)
	return m, parsed, err
}

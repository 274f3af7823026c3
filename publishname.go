package cairn

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cairn-ipfs/cairn/internal/names"
)

// PublishOptions say what a name is to say besides where it leads. The zero
// value is fine.
type PublishOptions struct {
	// Lifetime is how long the record is valid. Zero: DefaultNameLifetime. While
	// the node is open and online it is renewed before it expires.
	Lifetime time.Duration `json:"lifetime,omitzero"`
	// TTL is how long others may cache it. Zero: DefaultNameTTL.
	TTL time.Duration `json:"ttl,omitzero"`
	// Sequence is the record's, above all that are in use. Zero: the next one.
	Sequence uint64 `json:"sequence,omitempty"`
	// Metadata are further signed fields, under keys that begin with an
	// underscore: string, []byte, int64, int or bool.
	Metadata map[string]any `json:"metadata,omitempty"`
	// Offline asks nobody for the highest sequence, and sends nothing now.
	Offline bool `json:"offline,omitempty"`
}

// PublishName makes the name of a key lead to a path, /ipfs/… or /ipns/…, or a
// CID. The key is given by what it is called here, or by its id; empty is the
// node's identity. All who may have a record are asked first, for the sequence
// has to be above those that are in use, the record is made durable, and then
// sent: into the DHT or to delegated routers, and to those peers that follow the
// name. Where nobody takes it, offline for one, it is kept, returned, and the
// error wraps ErrNotSent; the node sends it when it's online. Errors:
// ErrNameInvalid, ErrNameNotFound for the key, ErrPassphrase, ErrRollback.
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

// recordOf keeps the record that comes with an ErrNotSent.
func recordOf(r *names.Record, err error) (NameRecord, error) {
	if r == nil {
		return NameRecord{}, err
	}
	return newNameRecord(r), err
}

// PutNameRecord takes in a record that somebody signed, and sends it on as it
// is. Where nobody takes it, the error wraps ErrNotSent, and it is here all the
// same. Errors: ErrNameInvalid, ErrNameExpired, ErrRollback.
func (n *Node) PutNameRecord(ctx context.Context, name string, raw []byte) (NameRecord, error) {
	m, parsed, err := n.namingOf(ctx, name)
	if err != nil {
		return NameRecord{}, err
	}
	return recordOf(m.Put(ctx, parsed, raw))
}

// FollowName makes a name one of those that the node follows: it hears of new
// records at once (IPNS over PubSub), tells peers of the one it has, and keeps
// it alive in the DHT, as it came. That outlasts restarts.
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

// UnfollowName takes a FollowName back. What is known of the name is remembered.
func (n *Node) UnfollowName(ctx context.Context, name string) error {
	return n.withNames(ctx, name, func(m *names.Names, parsed names.Name) error { return m.Unfollow(ctx, parsed) })
}

// WithdrawName ends the renewing of what was published under a name. What is
// out there stays valid until it expires.
func (n *Node) WithdrawName(ctx context.Context, name string) error {
	return n.withNames(ctx, name, func(m *names.Names, parsed names.Name) error { return m.Withdraw(ctx, parsed) })
}

// ForgetName forgets what is known of a name: its record, and the highest
// sequence, so that it is accepted again from an owner who lost count. It is no
// longer followed, or renewed.
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

// NameUpdates yields the valid record that is here of a name that is followed or
// published, and then each better one as it comes. Who is slow gets the last
// one. It ends with ctx, by its error, and when the name is forgotten or the
// node is closed.
func (n *Node) NameUpdates(ctx context.Context, name string) iter.Seq2[NameRecord, error] {
	return func(yield func(NameRecord, error) bool) {
		m, parsed, err := n.namingOf(ctx, name)
		if err != nil {
			yield(NameRecord{}, err)
			return
		}
		for r, err := range m.Updates(ctx, parsed) {
			record, err := recordOf(r, err)
			if !yield(record, err) {
				return
			}
		}
	}
}

package cairn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cairn-ipfs/cairn/internal/names"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/libp2p/go-libp2p/core/crypto"
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

// DNS says how domains are resolved (https://dnslink.dev). The zero value asks
// the system's DNS servers.
type DNS struct {
	// Servers are the DNS servers to ask, as host and port. Nil: the system's.
	Servers []string
	// DoH are URLs of DNS over HTTPS to ask instead, by the suffix of the domain
	// ("eth"), "." for all.
	DoH map[string]string
	// Static are links that are known without asking: of a domain the path.
	Static map[string]string
}

// Check says whether a node could be opened with that. Errors: ErrNameInvalid.
func (d DNS) Check() error {
	l, err := d.open()
	if err != nil {
		return err
	}
	return l.Close()
}

func (d DNS) open() (*names.DNSLink, error) {
	return names.NewDNSLink(names.DNSConfig{Servers: d.Servers, DoH: d.DoH, Static: d.Static})
}

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

// A naming is the half of a node that is about names. It is made with the first
// call, and joins the network when that starts.
type naming struct {
	names   *names.Names
	dns     *names.DNSLink
	stop    context.CancelFunc
	running sync.WaitGroup
}

// naming returns it, and makes it with the first call.
func (n *Node) naming(ctx context.Context) (*naming, error) {
	n.netMu.Lock()
	defer n.netMu.Unlock()
	return n.openNaming(ctx)
}

// openNaming is naming; n.netMu is held.
func (n *Node) openNaming(ctx context.Context) (_ *naming, err error) {
	if n.netClosed {
		return nil, store.ErrClosed
	}
	if n.named != nil {
		return n.named, nil
	}
	m := &naming{stop: func() {}}
	if m.dns, err = n.config.DNS.open(); err != nil {
		return nil, err
	}
	m.names, err = names.New(ctx, names.Config{
		State: nameState{n.store}, DNSLink: m.dns, Logger: n.config.Logger,
		Key: func(name names.Name) (crypto.PrivKey, error) {
			keys, err := n.Keys()
			if err != nil {
				return nil, err
			}
			return keys.keys.PrivateKey(name)
		},
		StartNetwork: func(ctx context.Context) error {
			_, err := n.online(ctx)
			return err
		},
		AwaitBootstrap: func(ctx context.Context) error {
			net, err := n.online(ctx)
			if err != nil {
				return err
			}
			return net.bootstrap.Wait(ctx)
		},
	})
	if err != nil {
		return nil, errors.Join(err, m.dns.Close())
	}
	n.named = m
	return m, nil
}

// join gives names their network, and begins to send what is due.
func (m *naming) join(net names.Network) error {
	if err := m.names.Join(net); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.running.Go(func() { _ = m.names.Run(ctx) }) // it returns nil
	return nil
}

func (m *naming) close() error {
	m.stop()
	m.running.Wait()
	return errors.Join(m.names.Close(), m.dns.Close())
}

// nameSpace is the space of the store that holds what is remembered of names,
// and keptNameSpace what a rebuild must restore of it.
const (
	nameSpace     = "names"
	keptNameSpace = "names/kept"
)

// A nameState keeps that, by the name's routing key.
type nameState struct{ store *store.Store }

var _ names.State = nameState{}

func spaceOf(area names.Area) string {
	if area == names.AreaKept {
		return keptNameSpace
	}
	return nameSpace
}

func (s nameState) Set(ctx context.Context, changes ...names.Change) error {
	set := s.store.Batch()
	for _, c := range changes {
		if c.Value == nil {
			set.Unset(spaceOf(c.Area), c.Key)
		} else {
			set.Set(spaceOf(c.Area), c.Key, c.Value)
		}
	}
	return set.Commit(ctx)
}

func (s nameState) All(ctx context.Context, area names.Area) iter.Seq2[names.Item, error] {
	return func(yield func(names.Item, error) bool) {
		for item, err := range s.store.Space(spaceOf(area)).All(ctx, nil) {
			if !yield(names.Item{Key: item.Key, Value: item.Value}, err) {
				return
			}
		}
	}
}

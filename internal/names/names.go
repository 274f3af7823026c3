package names

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cairn-ipfs/cairn/internal/rows"
	"github.com/cairn-ipfs/cairn/internal/swarm"
)

// A ValueStore is a public store of records: the DHT, a delegated router. Keys
// are those of Name.RoutingKey. A call ends soon after its context.
type ValueStore interface {
	// PutValue stores a record.
	PutValue(ctx context.Context, key string, value []byte) error
	// SearchValue yields records as it finds them, until the search is
	// complete. They need not be valid. An error doesn't end the search.
	// Finding no record is not an error.
	SearchValue(ctx context.Context, key string) iter.Seq2[Value, error]
}

// A Value is a record as a ValueStore holds it.
type Value struct {
	Data []byte
	// Source describes where the record was found, for Step.From.
	Source string
}

// A Topic is a subscription to a topic of pubsub; *swarm.Topic is one.
type Topic interface {
	Publish(ctx context.Context, data []byte) error
	Messages(ctx context.Context) iter.Seq2[swarm.Message, error]
	Peers() []peer.ID
	Close() error
}

var _ Topic = (*swarm.Topic)(nil)

// A Validator decides whether a message is forwarded to other peers.
type Validator = func(context.Context, swarm.Message) bool

// SwarmTopics returns a function for Network.Topics that opens topics of s.
func SwarmTopics(s *swarm.Swarm) func(name string, valid Validator) (Topic, error) {
	return func(name string, valid Validator) (Topic, error) {
		t, err := s.Topic(name, swarm.TopicOptions{Validate: valid})
		if err != nil {
			return nil, err
		}
		return t, nil
	}
}

// A Network is what Names finds and sends records over. The zero Network has no
// stores and no peers.
type Network struct {
	// Stores are where records are looked for and put.
	Stores []ValueStore

	// Topics opens a pubsub topic, on which only what valid accepts is
	// forwarded. nil: no pubsub.
	Topics func(name string, valid Validator) (Topic, error)

	// Host serves the fetch protocol, and queries connected peers by it. nil:
	// no fetch protocol.
	Host host.Host
}

// A Config configures Names. The zero Config resolves only what Put and Publish
// stored.
type Config struct {
	// Network is joined by New. Zero: there is none until Join.
	Network Network

	// StartNetwork is called before a record is looked up or sent. It starts
	// the network and calls Join, unless that was done before. If it fails,
	// only local records are used. nil: Names uses the network it has.
	StartNetwork func(ctx context.Context) error

	// AwaitBootstrap waits, after StartNetwork, until bootstrapping has ended,
	// and returns its error. Meanwhile stores and connected peers are queried.
	// nil: there is nothing to wait for.
	AwaitBootstrap func(ctx context.Context) error

	// State keeps sequences and records. nil: they are lost on Close, after
	// which a name could be rolled back.
	State rows.Store

	// Key returns the private key of a name, to renew records before they
	// expire; Keys.PrivateKey fits. nil: records are not renewed.
	Key func(name Name) (crypto.PrivKey, error)

	// DNSLink resolves domains. nil: domains are not resolved.
	DNSLink *DNSLink

	// LookupTime bounds a lookup. 0: 30 seconds.
	LookupTime time.Duration

	// SendTime bounds a put into one store. 0: one minute.
	SendTime time.Duration

	// Rebroadcast is the interval at which own and followed records are put
	// into the stores again. 0: 12 hours; DHT nodes drop records after 48.
	Rebroadcast time.Duration

	// Logger receives the log. nil: silent.
	Logger *slog.Logger

	peersEvery time.Duration // the interval of watchPeers; for tests
}

// Names publishes and resolves names; New makes one.
type Names struct {
	c     Config
	log   *slog.Logger
	cache *cache
	net   atomic.Pointer[Network] // never nil; replaced once, by Join

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	// Semaphores, with one slot for each …
	searching   chan struct{}          // lookup in progress
	asking      chan struct{}          // query to a peer
	verifying   chan struct{}          // pubsub message being checked
	answering   chan struct{}          // peer being answered
	subscribing chan struct{}          // subscription being opened or closed
	publishing  [writers]chan struct{} // name being signed for

	mu            sync.Mutex // guards the following fields
	closed        bool
	joined        bool
	lookups       map[Name]*lookup
	subscriptions map[Name]*subscription

	running sync.WaitGroup
}

// New makes a Names, loads the state, and joins c.Network unless it is zero.
// The context is only for this call.
func New(ctx context.Context, c Config) (*Names, error) {
	if c.LookupTime == 0 {
		c.LookupTime = 30 * time.Second
	}
	if c.SendTime == 0 {
		c.SendTime = time.Minute
	}
	if c.Rebroadcast == 0 {
		c.Rebroadcast = 12 * time.Hour
	}
	if c.peersEvery == 0 {
		c.peersEvery = peersEvery
	}
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	stored, err := newCache(ctx, c.State, log)
	if err != nil {
		return nil, err
	}
	n := &Names{
		c: c, log: log, cache: stored,
		searching: make(chan struct{}, maxSearching), asking: make(chan struct{}, maxAsking),
		verifying: make(chan struct{}, 1), answering: make(chan struct{}, maxAnswering),
		subscribing: make(chan struct{}, 1),
		lookups:     make(map[Name]*lookup), subscriptions: make(map[Name]*subscription),
	}
	for i := range n.publishing {
		n.publishing[i] = make(chan struct{}, 1)
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.net.Store(&Network{})
	if c.Network.Host != nil || c.Network.Topics != nil || c.Network.Stores != nil {
		if err := n.Join(c.Network); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// Join gives Names its network, once. From then on Names looks names up there,
// serves the fetch protocol, and is subscribed to the topics of own and followed
// names. The network must live until Close.
func (n *Names) Join(net Network) error {
	n.mu.Lock()
	if n.closed || n.joined {
		defer n.mu.Unlock()
		if n.closed {
			return ErrClosed
		}
		return errors.New("names: join a network: Names has one already")
	}
	n.joined = true
	n.net.Store(&net)
	if net.Host != nil {
		net.Host.SetStreamHandler(fetchProtocol, n.handleFetch)
	}
	n.mu.Unlock()
	for _, name := range n.cache.keptNames() {
		if err := n.updateSubscription(name); err != nil {
			n.log.Warn("names: subscribing failed: new records arrive by lookups only", "name", name, "err", err)
		}
	}
	if net.Host != nil && net.Topics != nil {
		n.spawn(n.watchPeers)
	}
	return nil
}

// startNetwork calls Config.StartNetwork.
func (n *Names) startNetwork(ctx context.Context) error {
	if n.c.StartNetwork == nil {
		return nil
	}
	return n.c.StartNetwork(ctx)
}

// awaitBootstrap calls Config.AwaitBootstrap.
func (n *Names) awaitBootstrap(ctx context.Context) error {
	if n.c.AwaitBootstrap == nil {
		return nil
	}
	return n.c.AwaitBootstrap(ctx)
}

// Close ends all operations and waits for them. Calls after the first do
// nothing. The value stores, the host and the state must live until it returns.
func (n *Names) Close() error {
	n.mu.Lock()
	closed := n.closed
	n.closed = true
	open := n.subscriptions
	n.subscriptions = make(map[Name]*subscription)
	n.mu.Unlock()
	if h := n.net.Load().Host; !closed && h != nil {
		h.RemoveStreamHandler(fetchProtocol)
	}
	n.cancel()
	var failed error
	for _, s := range open {
		if err := s.topic.Close(); err != nil {
			failed = err
		}
	}
	n.running.Wait()
	return failed
}

// spawn runs f in a goroutine that Close waits for. It returns false after
// Close.
func (n *Names) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.spawnLocked(f)
}

// spawnLocked is spawn; n.mu is held.
func (n *Names) spawnLocked(f func()) bool {
	if n.closed {
		return false
	}
	n.running.Go(f)
	return true
}

// accept stores a received record, if it is authentic, valid, and no rollback:
// durably, before any caller sees it. It returns the best record of the name,
// and whether that is new. With ErrExpired and ErrRollback it returns the
// refused record. from describes where the record was found.
//
// asked: the record answers a lookup, so it confirms the record held here.
// A record that was not asked for confirms nothing: otherwise a peer that
// repeats an old record would suppress the lookups that find the new one.
func (n *Names) accept(ctx context.Context, name Name, raw []byte, from string, asked bool) (best *Record, better bool, err error) {
	// Most records received are already here.
	now := time.Now()
	_, held := n.cache.get(name)
	if held != nil && string(held.raw) == string(raw) {
		if err := held.Valid(now); err != nil {
			return held, false, err
		}
		if asked {
			err = n.confirm(ctx, name, held, from, now)
		}
		return held, false, err
	}
	record, err := ParseRecord(name, raw)
	if err != nil {
		return nil, false, err
	}
	if err := record.Valid(now); err != nil {
		return record, false, err
	}
	if held != nil && record.Compare(held) == 0 {
		if asked {
			err = n.confirm(ctx, name, held, from, now)
		}
		return held, false, err
	}
	err = n.cache.update(ctx, name, true, func(r row, held *Record) (row, *Record, error) {
		if r.seen && record.sequence < r.highest {
			return r, held, rollbackError(record, r.highest)
		}
		if held != nil && record.Compare(held) <= 0 {
			best, better = held, false
			return r, held, errUnchanged
		}
		r.seen, r.highest, r.raw, r.confirmed, r.from = true, record.sequence, record.raw, now, from
		best, better = record, true
		return r, record, nil
	})
	switch {
	case err == errUnchanged:
		return best, false, nil
	case err != nil:
		return record, false, err
	}
	if err := n.cache.trim(ctx); err != nil {
		n.log.Warn("names: evicting old names failed", "err", err)
	}
	return best, better, nil
}

func rollbackError(r *Record, highest uint64) error {
	return fmt.Errorf("names: record of %s: %w: it has the sequence %d, and %d was seen before", r.name, ErrRollback, r.sequence, highest)
}

// confirm records that others still have this record. That is kept only in
// memory: after a restart the name is looked up again.
func (n *Names) confirm(ctx context.Context, name Name, record *Record, from string, now time.Time) error {
	err := n.cache.update(ctx, name, false, func(r row, held *Record) (row, *Record, error) {
		if held != record {
			return r, held, errUnchanged
		}
		if r.confirmed = now; r.from != FromHere {
			r.from = from
		}
		return r, held, nil
	})
	if err == errUnchanged {
		return nil
	}
	return err
}

// Forget deletes what is stored about a name: its record, and the highest
// sequence. Then a name is accepted again whose owner lost count and began anew.
// The name is no longer own or followed.
func (n *Names) Forget(ctx context.Context, name Name) error {
	unlock, err := n.lockSubscriptions()
	if err != nil {
		return err
	}
	defer unlock()
	n.unsubscribe(name)
	return n.cache.forget(ctx, name, false)
}

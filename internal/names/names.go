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

	"github.com/cairn-ipfs/cairn/internal/swarm"
)

// A ValueStore keeps records for everybody: the DHT, a delegated router. The
// keys are those of Name.RoutingKey. A call ends soon after its context.
type ValueStore interface {
	// PutValue stores a record.
	PutValue(ctx context.Context, key string, value []byte) error
	// SearchValue yields the records that it finds, as they come, until it has
	// looked everywhere. They need not be valid. Errors don't end it. That
	// there is none is no error.
	SearchValue(ctx context.Context, key string) iter.Seq2[Found, error]
}

// A Found is a record as a ValueStore has it.
type Found struct {
	Data []byte
	// Source says who had it, for who asks where a record is from.
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

// A Validator says whether a message may be passed on.
type Validator = func(context.Context, swarm.Message) bool

// SwarmTopics is a Network's Topics over a swarm.
func SwarmTopics(s *swarm.Swarm) func(name string, valid Validator) (Topic, error) {
	return func(name string, valid Validator) (Topic, error) {
		t, err := s.Topic(name, swarm.TopicOptions{Valid: valid})
		if err != nil {
			return nil, err
		}
		return t, nil
	}
}

// A Network is what Names finds and spreads records over. The zero Network is
// none.
type Network struct {
	// Stores are where records are looked for and put.
	Stores []ValueStore

	// Topics opens a topic of pubsub, on which nothing is to be passed on that
	// valid refuses. nil: no pubsub.
	Topics func(name string, valid Validator) (Topic, error)

	// Host answers, and asks connected peers, by the fetch protocol. nil: no
	// fetch protocol.
	Host host.Host
}

// A Config says what Names has to work with. The zero Config resolves what was
// put in by hand.
type Config struct {
	// Network is the one that is there from the start. Zero: there is none
	// until Join.
	Network Network

	// Online is called before a record is looked up or sent: it brings the
	// network about, and lets Names Join it. If it fails, only what is here
	// counts. nil: the network is what it is.
	Online func(ctx context.Context) error

	// Entered waits, after Online, until peers are connected with the network,
	// or none can be had, which it says. Stores, and peers that are connected
	// already, are asked meanwhile. nil: whoever is connected counts.
	Entered func(ctx context.Context) error

	// State keeps sequences and records. nil: they are lost on Close, and then
	// a name could be rolled back.
	State State

	// Key returns the private key of a name, for records that are to be signed
	// again before they expire; Keys.PrivateKey does. nil: they are not.
	Key func(name Name) (crypto.PrivKey, error)

	// DNSLink resolves domains. nil: domains are not resolved.
	DNSLink *DNSLink

	// LookupTime bounds a look-up. 0: 30 seconds.
	LookupTime time.Duration

	// SendTime bounds the putting of a record into one store. 0: one minute.
	SendTime time.Duration

	// Rebroadcast is how often own and followed records are put into the
	// stores again. 0: twelve hours; nodes of the DHT drop records after 48.
	Rebroadcast time.Duration

	// Logger is told what happens. nil: silent.
	Logger *slog.Logger

	peersEvery time.Duration // how often the topics' peers are looked at; for tests
}

// Names publishes and resolves names; New makes one.
type Names struct {
	c     Config
	log   *slog.Logger
	table *table
	net   atomic.Pointer[Network] // never nil; replaced once, by Join

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	looking   chan struct{} // a place for each look-up that is under way
	asking    chan struct{} // a place for each question to a peer
	verifying chan struct{} // a place for a message of pubsub that is checked
	answering chan struct{} // a place for each peer that is answered
	feeding   chan struct{} // a place for who opens or closes a feed

	publishing [writers]chan struct{} // a place for who publishes, by name

	mu      sync.Mutex // guards what follows
	closed  bool
	joined  bool
	lookups map[Name]*lookup
	feeds   map[Name]*feed

	running sync.WaitGroup
}

// New makes a Names, with what the state remembers, and joins the network of the
// Config, if there is one. The context is for the making alone.
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
	t, err := newTable(ctx, c.State, log)
	if err != nil {
		return nil, err
	}
	n := &Names{
		c: c, log: log, table: t,
		looking: make(chan struct{}, maxLooking), asking: make(chan struct{}, maxAsking),
		verifying: make(chan struct{}, 1), answering: make(chan struct{}, maxAnswering),
		feeding: make(chan struct{}, 1),
		lookups: make(map[Name]*lookup), feeds: make(map[Name]*feed),
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

// Join gives Names its network, once. From then on it looks names up there,
// answers by the fetch protocol, and is subscribed to the topics of the names
// that are published and followed here. The network must live until Close.
func (n *Names) Join(net Network) error {
	n.mu.Lock()
	if n.closed || n.joined {
		defer n.mu.Unlock()
		if n.closed {
			return ErrClosed
		}
		return errors.New("names: join a network: there is one already")
	}
	n.joined = true
	n.net.Store(&net)
	if net.Host != nil {
		net.Host.SetStreamHandler(fetchProtocol, n.answer)
	}
	n.mu.Unlock()
	for _, name := range n.table.names() {
		if err := n.attend(name); err != nil {
			n.log.Warn("names: can't hear of new records", "name", name, "err", err)
		}
	}
	if net.Host != nil && net.Topics != nil {
		n.spawn(n.watchPeers)
	}
	return nil
}

// online makes sure that there is the network, if there can be one.
func (n *Names) online(ctx context.Context) error {
	if n.c.Online == nil {
		return nil
	}
	return n.c.Online(ctx)
}

// entered waits until there may be peers to ask.
func (n *Names) entered(ctx context.Context) error {
	if n.c.Entered == nil {
		return nil
	}
	return n.c.Entered(ctx)
}

// Close ends all that is under way and waits for it. Calls after the first do
// nothing. The value stores, the host and the state must live until then.
func (n *Names) Close() error {
	n.mu.Lock()
	closed := n.closed
	n.closed = true
	feeds := n.feeds
	n.feeds = make(map[Name]*feed)
	n.mu.Unlock()
	if h := n.net.Load().Host; !closed && h != nil {
		h.RemoveStreamHandler(fetchProtocol)
	}
	n.cancel()
	var failed error
	for _, f := range feeds {
		if err := f.topic.Close(); err != nil {
			failed = err
		}
	}
	n.running.Wait()
	return failed
}

// spawn runs f in a goroutine that Close waits for, unless it is closed.
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

// accept takes a record in, from wherever it came: if it is authentic, valid,
// and no rollback, it is remembered before anybody sees it. It returns the
// best record of the name, and whether that is new. With ErrExpired and
// ErrRollback it returns the record that was refused.
//
// asked: it came in answer to a look-up, so the record that is here already is
// fresh once more. What comes unasked doesn't say that: else whoever repeats an
// old record would keep us from asking for the new one. from says who had it.
func (n *Names) accept(ctx context.Context, name Name, raw []byte, from string, asked bool) (best *Record, better bool, err error) {
	// Of most records that come one has the bytes here already.
	now := time.Now()
	_, held := n.table.get(name)
	if held != nil && string(held.raw) == string(raw) {
		if err := held.Valid(now); err != nil {
			return held, false, err
		}
		if asked {
			err = n.heard(ctx, name, held, from, now)
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
			err = n.heard(ctx, name, held, from, now)
		}
		return held, false, err
	}
	err = n.table.update(ctx, name, true, func(r row, held *Record) (row, *Record, error) {
		if r.seen && record.sequence < r.highest {
			return r, held, rollback(record, r.highest)
		}
		if held != nil && record.Compare(held) <= 0 {
			best, better = held, false
			return r, held, errSame
		}
		r.seen, r.highest, r.raw, r.heard, r.from = true, record.sequence, record.raw, now, from
		best, better = record, true
		return r, record, nil
	})
	switch {
	case err == errSame:
		return best, false, nil
	case err != nil:
		return record, false, err
	}
	if err := n.table.trim(ctx); err != nil {
		n.log.Warn("names: the state can't be trimmed", "err", err)
	}
	return best, better, nil
}

func rollback(r *Record, highest uint64) error {
	return fmt.Errorf("names: record of %s: %w: it has the sequence %d, and %d was seen before", r.name, ErrRollback, r.sequence, highest)
}

// heard notes that a record is still the one that others have. That is kept in
// memory alone: after a restart it is asked for again.
func (n *Names) heard(ctx context.Context, name Name, record *Record, from string, now time.Time) error {
	err := n.table.update(ctx, name, false, func(r row, held *Record) (row, *Record, error) {
		if held != record {
			return r, held, errSame
		}
		if r.heard = now; r.from != FromHere {
			r.from = from
		}
		return r, held, nil
	})
	if err == errSame {
		return nil
	}
	return err
}

// Forget forgets what is known of a name: its record, and the highest sequence.
// So a name is accepted again whose owner lost count and began anew. A name
// that was published or followed is so no longer.
func (n *Names) Forget(ctx context.Context, name Name) error {
	done, err := n.feedTurn()
	if err != nil {
		return err
	}
	defer done()
	n.closeFeed(name)
	return n.table.forget(ctx, name, false)
}

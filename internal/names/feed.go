package names

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cairn-ipfs/cairn/internal/swarm"
)

const (
	// peersEvery is how often the peers of the topics are looked at: a new one
	// is asked for its record, as messages from before it was connected are
	// lost.
	peersEvery = 5 * time.Second

	// maxAsking is how many peers are asked at a time, and maxAsked how many
	// for one look-up.
	maxAsking = 32
	maxAsked  = 8

	// lookAgain is how often a look-up looks who is connected, while the
	// network is entered.
	lookAgain = 50 * time.Millisecond
)

// A feed is the topic of a name that is published or followed here.
type feed struct {
	topic Topic
	// asked are the topic's peers that have been asked; for watchPeers alone.
	asked map[peer.ID]bool
}

// attend brings the feed of a name in line with whether it is published or
// followed. It goes by what is so when its turn has come: of two that change that
// at once, the last one to get here sees what both have done.
func (n *Names) attend(name Name) error {
	done, err := n.feedTurn()
	if err != nil {
		return err
	}
	defer done()
	if n.table.isKept(name) {
		return n.openFeed(name)
	}
	n.closeFeed(name)
	return nil
}

// feedTurn waits until nobody else opens or closes a feed.
func (n *Names) feedTurn() (done func(), err error) {
	select {
	case n.feeding <- struct{}{}:
		return func() { <-n.feeding }, nil
	case <-n.ctx.Done():
		return nil, ErrClosed
	}
}

// openFeed subscribes to the topic of a name, unless it is open. It is the
// caller's turn.
func (n *Names) openFeed(name Name) error {
	topics := n.net.Load().Topics
	if topics == nil {
		return nil
	}
	n.mu.Lock()
	_, open := n.feeds[name]
	n.mu.Unlock()
	if open {
		return nil
	}
	topic, err := topics(name.Topic(), func(ctx context.Context, m swarm.Message) bool {
		better, err := n.hear(ctx, name, m)
		return err == nil && (better || n.isOwn(m))
	})
	if err != nil {
		return fmt.Errorf("names: topic of %s: %w", name, err)
	}
	f := &feed{topic: topic, asked: make(map[peer.ID]bool)}
	n.mu.Lock()
	spawned := n.spawnLocked(func() { n.listen(name, topic) })
	if spawned {
		n.feeds[name] = f
	}
	n.mu.Unlock()
	if !spawned {
		return topic.Close()
	}
	return nil
}

// closeFeed ends the subscription to a name, if there is one. It is the caller's
// turn.
func (n *Names) closeFeed(name Name) {
	n.mu.Lock()
	f := n.feeds[name]
	delete(n.feeds, name)
	n.mu.Unlock()
	if f == nil {
		return
	}
	if err := f.topic.Close(); err != nil {
		n.log.Warn("names: a topic can't be closed", "name", name, "err", err)
	}
}

func (n *Names) feed(name Name) *feed {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.feeds[name]
}

// listen takes what comes over a topic. Most of it was heard already, when it was
// to be passed on.
func (n *Names) listen(name Name, topic Topic) {
	for m, err := range topic.Messages(n.ctx) {
		if err != nil {
			return
		}
		if _, err := n.hear(n.ctx, name, m); err != nil {
			n.log.Debug("names: a record was refused", "name", name, "peer", m.From, "err", err)
		}
	}
}

// hear takes a message of a topic, and tells whether it is better than what was
// here; an error says that it's no record of the name, expired, or older than
// what was seen. Anybody can send anything there; so one message is checked at a
// time, of all topics together.
func (n *Names) hear(ctx context.Context, name Name, m swarm.Message) (better bool, err error) {
	if len(m.Data) > MaxRecord {
		return false, fmt.Errorf("%w: a message of %d bytes", ErrInvalid, len(m.Data))
	}
	select {
	case n.verifying <- struct{}{}:
		defer func() { <-n.verifying }()
	case <-ctx.Done():
		return false, ctx.Err()
	case <-n.ctx.Done():
		return false, ErrClosed
	}
	_, better, err = n.accept(ctx, name, m.Data, fromTopic+m.From.String(), false)
	return better, err
}

// isOwn tells whether a message is one that is published here: what it says is
// here already. That of somebody else is passed on only if it's news, as other
// implementations have it: else who repeats a record has all followers send it.
func (n *Names) isOwn(m swarm.Message) bool {
	h := n.net.Load().Host
	return h != nil && m.From == h.ID()
}

// spread publishes a record that came otherwise on its topic, if that is open.
func (n *Names) spread(ctx context.Context, record *Record) {
	f := n.feed(record.name)
	if f == nil {
		return
	}
	if err := f.topic.Publish(ctx, record.raw); err != nil {
		n.log.Debug("names: a record can't be published", "name", record.name, "err", err)
	}
}

// watchPeers asks each new peer of a topic for the record.
func (n *Names) watchPeers() {
	tick := time.NewTicker(n.c.peersEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		n.mu.Lock()
		feeds := make(map[Name]*feed, len(n.feeds))
		for name, f := range n.feeds {
			feeds[name] = f
		}
		n.mu.Unlock()
		for name, f := range feeds {
			here := make(map[peer.ID]bool)
			for _, id := range f.topic.Peers() {
				// One that can't be asked now is asked later.
				here[id] = f.asked[id] || n.askSoon(name, id)
			}
			f.asked = here
		}
	}
}

// askSoon asks a peer in the background, and tells whether there is room for
// that.
func (n *Names) askSoon(name Name, id peer.ID) bool {
	select {
	case n.asking <- struct{}{}:
	default:
		return false
	}
	l := &lookup{first: make(chan struct{})}
	if !n.spawn(func() {
		defer func() { <-n.asking }()
		n.fetch(n.ctx, l, name, id)
	}) {
		<-n.asking
		return false
	}
	return true
}

// ask asks a peer for a look-up, when there is room.
func (n *Names) ask(ctx context.Context, l *lookup, name Name, id peer.ID) {
	select {
	case n.asking <- struct{}{}:
		defer func() { <-n.asking }()
		n.fetch(ctx, l, name, id)
	case <-ctx.Done():
	}
}

func (n *Names) fetch(ctx context.Context, l *lookup, name Name, id peer.ID) {
	raw, err := FetchRecord(ctx, n.net.Load().Host, id, name)
	if err != nil {
		if !errors.Is(err, ErrNotFound) {
			l.fail(err)
		}
		return
	}
	n.take(ctx, l, name, raw, fromPeer+id.String())
}

// askPeers hands the connected peers to ask, those that connect while the network
// is being entered, too. It returns how many that were, and why it isn't entered.
func (n *Names) askPeers(ctx context.Context, name Name, ask func(peer.ID)) (int, error) {
	asked := make(map[peer.ID]bool)
	look := func() {
		for _, id := range n.askable(name) {
			if !asked[id] && len(asked) < maxAsked {
				asked[id] = true
				ask(id)
			}
		}
	}
	look()
	entered := make(chan error, 1)
	if !n.spawn(func() { entered <- n.entered(ctx) }) {
		return len(asked), ErrClosed
	}
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			look()
		case err := <-entered:
			look()
			return len(asked), err
		}
	}
}

// askable are the connected peers that a look-up asks: the topic's, and others
// that speak the fetch protocol.
func (n *Names) askable(name Name) []peer.ID {
	h := n.net.Load().Host
	if h == nil {
		return nil
	}
	var ids []peer.ID
	seen := make(map[peer.ID]bool)
	add := func(id peer.ID) {
		if len(ids) >= maxAsked || seen[id] || h.Network().Connectedness(id) != network.Connected {
			return
		}
		if spoken, err := h.Peerstore().SupportsProtocols(id, fetchProtocol); err == nil && len(spoken) > 0 {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	if f := n.feed(name); f != nil {
		for _, id := range f.topic.Peers() {
			add(id)
		}
	}
	for _, id := range h.Network().Peers() {
		add(id)
	}
	return ids
}

// Follow makes a name one of those that are followed: its topic is subscribed
// to, its record is told to who asks, and put into the stores again now and
// then, as it came. That outlasts restarts.
func (n *Names) Follow(ctx context.Context, name Name) error {
	err := n.table.update(ctx, name, true, func(r row, held *Record) (row, *Record, error) {
		if r.followed {
			return r, held, errSame
		}
		r.followed = true
		return r, held, nil
	})
	if err != nil && err != errSame {
		return err
	}
	return n.attend(name)
}

// Unfollow ends that. What is known of the name is remembered.
func (n *Names) Unfollow(ctx context.Context, name Name) error {
	return n.unkeep(ctx, name, func(r *row) { r.followed = false })
}

// Withdraw ends the renewing of what was published under a name. The record
// that is out there stays valid until it expires.
func (n *Names) Withdraw(ctx context.Context, name Name) error {
	return n.unkeep(ctx, name, func(r *row) { r.own = false })
}

func (n *Names) unkeep(ctx context.Context, name Name, f func(*row)) error {
	err := n.table.update(ctx, name, true, func(r row, held *Record) (row, *Record, error) {
		if !r.kept() {
			return r, held, errSame
		}
		f(&r)
		return r, held, nil
	})
	if err != nil && err != errSame {
		return err
	}
	return n.attend(name)
}

// Updates yields the valid record that is here of a name that is followed or
// published, and then each better one as it comes. Who is slow gets the last
// one. It ends with the context, by its error, and when the name is forgotten
// or Names closed.
func (n *Names) Updates(ctx context.Context, name Name) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		var last *Record
		for {
			record, change, ok := n.table.changed(name)
			if !ok {
				yield(nil, fmt.Errorf("names: updates of %s: %w: it isn't followed", name, ErrNotFound))
				return
			}
			if record != nil && (last == nil || record.Compare(last) > 0) && record.Valid(time.Now()) == nil {
				last = record
				if !yield(record, nil) {
					return
				}
			}
			select {
			case <-change:
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			case <-n.ctx.Done():
				yield(nil, fmt.Errorf("names: updates of %s: %w", name, ErrClosed))
				return
			}
		}
	}
}

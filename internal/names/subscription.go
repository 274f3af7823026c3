package names

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cairn-ipfs/cairn/internal/swarm"
)

// peersEvery is the interval at which the peers of topics are listed. New ones
// are asked for their records, as messages from before the connection are lost.
const peersEvery = 5 * time.Second

// A subscription is the open topic of an own or followed name.
type subscription struct {
	topic Topic
	// asked are the topic's peers that have been asked; only watchPeers uses it.
	asked map[peer.ID]bool
}

// updateSubscription subscribes to the topic of a name if the name is kept, and
// unsubscribes if it isn't. It reads that only once it has the lock: of two
// concurrent calls the last one sees the changes of both callers.
func (n *Names) updateSubscription(name Name) error {
	unlock, err := n.lockSubscriptions()
	if err != nil {
		return err
	}
	defer unlock()
	if n.cache.isKept(name) {
		return n.subscribe(name)
	}
	n.unsubscribe(name)
	return nil
}

// lockSubscriptions locks the opening and closing of subscriptions.
func (n *Names) lockSubscriptions() (unlock func(), err error) {
	select {
	case n.subscribing <- struct{}{}:
		return func() { <-n.subscribing }, nil
	case <-n.ctx.Done():
		return nil, ErrClosed
	}
}

// subscribe opens the topic of a name, unless it is open. Subscriptions are
// locked.
func (n *Names) subscribe(name Name) error {
	topics := n.net.Load().Topics
	if topics == nil || n.subscription(name) != nil {
		return nil
	}
	topic, err := topics(name.Topic(), func(ctx context.Context, m swarm.Message) bool {
		better, err := n.receive(ctx, name, m)
		return err == nil && (better || n.isOwn(m))
	})
	if err != nil {
		return fmt.Errorf("names: topic of %s: %w", name, err)
	}
	s := &subscription{topic: topic, asked: make(map[peer.ID]bool)}
	n.mu.Lock()
	spawned := n.spawnLocked(func() { n.readTopic(name, topic) })
	if spawned {
		n.subscriptions[name] = s
	}
	n.mu.Unlock()
	if !spawned {
		return topic.Close()
	}
	return nil
}

// unsubscribe closes the topic of a name, if it is open. Subscriptions are
// locked.
func (n *Names) unsubscribe(name Name) {
	n.mu.Lock()
	s := n.subscriptions[name]
	delete(n.subscriptions, name)
	n.mu.Unlock()
	if s == nil {
		return
	}
	if err := s.topic.Close(); err != nil {
		n.log.Warn("names: closing a topic failed", "name", name, "err", err)
	}
}

// subscription returns the subscription to a name, or nil.
func (n *Names) subscription(name Name) *subscription {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.subscriptions[name]
}

// readTopic receives the messages of a topic. The validator has received most
// of them before.
func (n *Names) readTopic(name Name, topic Topic) {
	for m, err := range topic.Messages(n.ctx) {
		if err != nil {
			return
		}
		if _, err := n.receive(n.ctx, name, m); err != nil {
			n.log.Debug("names: a record was refused", "name", name, "peer", m.From, "err", err)
		}
	}
}

// receive accepts the record in a message, and reports whether it is better than
// the one held here. It fails for a record that is invalid, expired, or a
// rollback. Any peer can send any message, so only one is checked at a time, of
// all topics together.
func (n *Names) receive(ctx context.Context, name Name, m swarm.Message) (better bool, err error) {
	if len(m.Data) > MaxRecord {
		return false, fmt.Errorf("%w: a message of %d bytes, want %d at most", ErrInvalid, len(m.Data), MaxRecord)
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

// isOwn reports whether this node published a message: its record is here
// already, and is forwarded. A record of another peer is forwarded only if it is
// better, as in other implementations: otherwise a peer that repeats a record
// would make every follower send it.
func (n *Names) isOwn(m swarm.Message) bool {
	h := n.net.Load().Host
	return h != nil && m.From == h.ID()
}

// broadcast publishes a record on its topic, if that is open.
func (n *Names) broadcast(ctx context.Context, record *Record) {
	s := n.subscription(record.name)
	if s == nil {
		return
	}
	if err := s.topic.Publish(ctx, record.raw); err != nil {
		n.log.Debug("names: publishing a record on its topic failed", "name", record.name, "err", err)
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
		open := make(map[Name]*subscription, len(n.subscriptions))
		for name, s := range n.subscriptions {
			open[name] = s
		}
		n.mu.Unlock()
		for name, s := range open {
			present := make(map[peer.ID]bool)
			for _, id := range s.topic.Peers() {
				// A peer that can't be asked now is asked later.
				present[id] = s.asked[id] || n.askInBackground(name, id)
			}
			s.asked = present
		}
	}
}

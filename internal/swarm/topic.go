package swarm

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// MaxMessage bounds a message of a topic, in bytes, as pubsub does it
	// elsewhere.
	MaxMessage = 1 << 20

	// maxEnvelope is what surrounds a message: ids, signature, key, topic.
	maxEnvelope = 4 << 10

	// maxTopicName bounds the name of a topic, in bytes. That of an IPNS
	// record has less than a hundred.
	maxTopicName = 256

	// maxTopics bounds the topics that are open at a time: a few for each of
	// the names that a mirror follows.
	maxTopics = 4096

	// maxQueued and maxQueuedBytes bound what waits for the reader of a topic.
	maxQueued      = 1024
	maxQueuedBytes = 4 * MaxMessage

	// maxValidating is how many messages are validated at a time, of one topic
	// and of all; those beyond are dropped. Each may have MaxMessage bytes.
	maxValidating = 64
	// validationTimeout bounds what a TopicOptions.Valid may take.
	validationTimeout = 10 * time.Second

	// subscriptionBuffer is how many messages pubsub may hand over before we
	// have queued the first. Queueing is quick.
	subscriptionBuffer = 64
)

// A Message is one that came in over a topic.
type Message struct {
	// From is who published it: with gossip a signature says so, of a
	// broadcast it's who sent it.
	From peer.ID
	// Via is the peer that it came from, which may only have passed it on.
	Via peer.ID
	// Data are the reader's.
	Data []byte
	// Direct: it came as a broadcast, not by gossip.
	Direct bool
	// Lost is how many messages before this one were dropped, because nobody
	// took them in time.
	Lost uint64
}

// TopicOptions say how a topic is opened. The zero value is fine.
type TopicOptions struct {
	// Valid, if not nil, is asked about each message, also our own: one that it
	// refuses is neither delivered here nor passed on. Of a topic that is open
	// more than once, all have to agree. Several goroutines call it, with a
	// context that ends after ten seconds; it must not keep the data.
	Valid func(ctx context.Context, m Message) bool
}

// A Topic is a subscription; Swarm.Topic makes one, and Close ends it.
type Topic struct {
	s     *Swarm
	name  string
	valid func(context.Context, Message) bool // nil: anything is

	mu     sync.Mutex // guards what follows
	queued []Message
	bytes  int
	lost   uint64
	closed bool
	change chan struct{} // room for one: something was queued
	gone   chan struct{} // closed by Close
}

// gossip is what the topics of a swarm share.
type gossip struct {
	mu     sync.Mutex // guards what follows
	pubsub *pubsub.PubSub
	topics map[string]*joined
}

// A joined is a topic that has at least one subscription.
type joined struct {
	topic        *pubsub.Topic
	subscription *pubsub.Subscription
	cancel       context.CancelFunc
	done         chan struct{} // closed when the pump has ended

	left chan struct{} // closed when the topic may be joined again

	// What follows is guarded by gossip.mu. When the last reader is gone the
	// topic is being left. Validating: pubsub asks gossip.valid.
	readers    map[*Topic]struct{}
	validating bool
}

// Topic subscribes to a topic of gossipsub, and to broadcasts of that name.
// What others send from now on waits for Messages, up to a bound. The first
// topic starts gossipsub. A topic may be opened more than once.
func (s *Swarm) Topic(name string, o TopicOptions) (*Topic, error) {
	if name == "" || len(name) > maxTopicName {
		return nil, fmt.Errorf("swarm: topic %.40q: the name has %d bytes, want 1 to %d", name, len(name), maxTopicName)
	}
	g := &s.gossip
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.topics[name]
	for j != nil && len(j.readers) == 0 {
		g.mu.Unlock()
		<-j.left
		g.mu.Lock()
		j = g.topics[name]
	}
	var err error
	switch {
	case j == nil:
		j, err = s.join(name, o.Valid != nil)
	case o.Valid != nil && !j.validating:
		err = s.validate(name)
		j.validating = err == nil
	}
	if err != nil {
		return nil, fmt.Errorf("swarm: topic %q: %w", name, err)
	}
	t := &Topic{s: s, name: name, valid: o.Valid, change: make(chan struct{}, 1), gone: make(chan struct{})}
	j.readers[t] = struct{}{}
	return t, nil
}

// join subscribes; s.gossip.mu is held. What comes is validated from the first
// message on, if it's to be.
func (s *Swarm) join(name string, validating bool) (_ *joined, err error) {
	g := &s.gossip
	if s.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if len(g.topics) >= maxTopics {
		return nil, fmt.Errorf("%d topics are open already", maxTopics)
	}
	if g.pubsub == nil {
		g.pubsub, err = pubsub.NewGossipSub(s.ctx, s.host,
			pubsub.WithMaxMessageSize(MaxMessage+maxEnvelope),
			// Our own messages go to all subscribed peers that we are
			// connected to. Else they go to those of the mesh alone, which
			// takes a second to form, and what is published before is lost.
			pubsub.WithFloodPublish(true),
			pubsub.WithValidateThrottle(maxValidating),
			pubsub.WithLogger(s.log))
		if err != nil {
			return nil, err
		}
		g.topics = make(map[string]*joined)
	}
	if validating {
		if err := s.validate(name); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, g.pubsub.UnregisterTopicValidator(name))
			}
		}()
	}
	topic, err := g.pubsub.Join(name)
	if err != nil {
		return nil, err
	}
	subscription, err := topic.Subscribe(pubsub.WithBufferSize(subscriptionBuffer))
	if err != nil {
		return nil, errors.Join(err, topic.Close())
	}
	ctx, cancel := context.WithCancel(s.ctx)
	j := &joined{
		topic: topic, subscription: subscription, cancel: cancel,
		done: make(chan struct{}), left: make(chan struct{}), readers: make(map[*Topic]struct{}),
		validating: validating,
	}
	if !s.spawn(func() { s.pump(ctx, j) }) {
		cancel()
		subscription.Cancel()
		return nil, errors.Join(ErrClosed, topic.Close())
	}
	g.topics[name] = j
	return j, nil
}

// validate has pubsub ask about the messages of a topic.
func (s *Swarm) validate(name string) error {
	ask := func(ctx context.Context, via peer.ID, m *pubsub.Message) bool {
		if !s.enter() { // pubsub waits for nobody
			return false
		}
		defer s.running.Done()
		asked, ok := s.gossip.valid(ctx, name, Message{From: m.GetFrom(), Via: via, Data: m.Data})
		m.ValidatorData = asked
		return ok
	}
	return s.gossip.pubsub.RegisterTopicValidator(name, ask,
		pubsub.WithValidatorConcurrency(maxValidating), pubsub.WithValidatorTimeout(validationTimeout))
}

// valid asks all who have the topic open, and returns those who were asked. What
// comes while nobody has it open isn't valid.
func (g *gossip) valid(ctx context.Context, name string, m Message) (asked []*Topic, ok bool) {
	g.mu.Lock()
	if j := g.topics[name]; j != nil {
		ok = len(j.readers) > 0
		for t := range j.readers {
			if t.valid != nil {
				asked = append(asked, t)
			}
		}
	}
	g.mu.Unlock()
	for _, t := range asked {
		ok = ok && t.valid(ctx, m)
	}
	return asked, ok
}

// isOpen tells whether somebody here has the topic open.
func (g *gossip) isOpen(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.topics[name]
	return j != nil && len(j.readers) > 0
}

// pump hands what comes by gossip to the readers.
func (s *Swarm) pump(ctx context.Context, j *joined) {
	defer close(j.done)
	for {
		m, err := j.subscription.Next(ctx)
		if err != nil {
			return
		}
		if from := m.GetFrom(); from != s.ID() {
			asked, _ := m.ValidatorData.([]*Topic)
			s.gossip.deliver(j.topic.String(), Message{From: from, Via: m.ReceivedFrom, Data: m.Data}, asked)
		}
	}
}

// deliver hands a message to the readers of a topic. Of those who want to be asked,
// those get it who were: others opened the topic after it had come.
func (g *gossip) deliver(name string, m Message, asked []*Topic) {
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.topics[name]
	if j == nil {
		return
	}
	for t := range j.readers {
		if t.valid == nil || slices.Contains(asked, t) {
			t.queue(m)
		}
	}
}

// queue keeps a message for the reader, who gets bytes of its own.
func (t *Topic) queue(m Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	if len(t.queued) >= maxQueued || t.bytes+len(m.Data) > maxQueuedBytes {
		t.lost++
		return
	}
	m.Data = append([]byte(nil), m.Data...)
	m.Lost, t.lost = t.lost, 0
	t.queued = append(t.queued, m)
	t.bytes += len(m.Data)
	select {
	case t.change <- struct{}{}:
	default:
	}
}

// next takes the first message queued.
func (t *Topic) next() (Message, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queued) == 0 {
		t.queued = nil
		return Message{}, false
	}
	m := t.queued[0]
	t.queued[0] = Message{}
	t.queued = t.queued[1:]
	t.bytes -= len(m.Data)
	return m, true
}

// Name is the topic's name.
func (t *Topic) Name() string { return t.name }

// Messages returns what others sent since the topic was opened and nobody has
// taken yet, and then what comes, in the order of arrival. It ends with the
// topic; with the context it ends by the context's error. Two iterations at a
// time share the messages.
func (t *Topic) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			for m, ok := t.next(); ok; m, ok = t.next() {
				if !yield(m, nil) {
					return
				}
			}
			select {
			case <-t.change:
			case <-t.gone:
				return
			case <-t.s.ctx.Done():
				return
			case <-ctx.Done():
				yield(Message{}, ctx.Err())
				return
			}
		}
	}
}

// Publish sends a message, of MaxMessage bytes at most, to all who subscribed,
// by way of peers who did, too. It is signed with the node's identity. Nobody
// says whether it arrived: peers further away than one step can miss it, above
// all in the second after they subscribed.
func (t *Topic) Publish(ctx context.Context, data []byte) error {
	if len(data) > MaxMessage {
		return fmt.Errorf("swarm: publish to %q: %d bytes, more than %d", t.name, len(data), MaxMessage)
	}
	g := &t.s.gossip
	g.mu.Lock()
	j := g.topics[t.name]
	open := j != nil
	if open {
		_, open = j.readers[t]
	}
	g.mu.Unlock()
	if !open || t.s.ctx.Err() != nil {
		return fmt.Errorf("swarm: publish to %q: %w", t.name, ErrClosed)
	}
	// Pubsub keeps the slice.
	if err := j.topic.Publish(ctx, append([]byte(nil), data...)); err != nil {
		return fmt.Errorf("swarm: publish to %q: %w", t.name, err)
	}
	return nil
}

// Broadcast is Swarm.Broadcast to the topic.
func (t *Topic) Broadcast(ctx context.Context, data []byte) (int, error) {
	return t.s.Broadcast(ctx, t.name, data)
}

// Peers returns the connected peers that subscribed, too.
func (t *Topic) Peers() []peer.ID {
	g := &t.s.gossip
	g.mu.Lock()
	j := g.topics[t.name]
	g.mu.Unlock()
	if j == nil {
		return nil
	}
	return j.topic.ListPeers()
}

// Close ends the subscription and the iterations. Calls after the first do
// nothing.
func (t *Topic) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	close(t.gone)
	t.mu.Unlock()

	g := &t.s.gossip
	g.mu.Lock()
	j := g.topics[t.name]
	delete(j.readers, t)
	last := len(j.readers) == 0
	g.mu.Unlock()
	if !last {
		return nil
	}
	j.cancel()
	j.subscription.Cancel()
	<-j.done
	err := j.topic.Close()
	g.mu.Lock()
	if j.validating {
		err = errors.Join(err, g.pubsub.UnregisterTopicValidator(t.name))
	}
	delete(g.topics, t.name)
	close(j.left)
	g.mu.Unlock()
	// It fails if the swarm is closed, and all is gone then.
	if err != nil && t.s.ctx.Err() == nil {
		return fmt.Errorf("swarm: close topic %q: %w", t.name, err)
	}
	return nil
}

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
	// MaxMessage bounds a message of a topic, in bytes, as other implementations
	// of pubsub do.
	MaxMessage = 1 << 20

	// maxEnvelope bounds what surrounds a message: ids, signature, key, topic.
	maxEnvelope = 4 << 10

	// maxTopicName bounds the name of a topic, in bytes. The topic of an IPNS
	// record has less than a hundred.
	maxTopicName = 256

	// maxTopics bounds the open topics: a few for each name that a mirror follows.
	maxTopics = 4096

	// maxQueued and maxQueuedBytes bound the messages that wait for the reader of a
	// topic.
	maxQueued      = 1024
	maxQueuedBytes = 4 * MaxMessage

	// maxValidating bounds the messages that are validated at a time, of one topic
	// and of all; further ones are dropped. Each may have MaxMessage bytes.
	maxValidating = 64
	// validationTimeout bounds a call of TopicOptions.Validate.
	validationTimeout = 10 * time.Second

	// subscriptionBuffer bounds the messages between pubsub and our queues. Queueing
	// is quick.
	subscriptionBuffer = 64
)

// A Message is a message received on a topic.
type Message struct {
	// From is the publisher: the signer of a gossip message, or the sender of a
	// broadcast.
	From peer.ID
	// Via is the peer that delivered it, which may only have relayed it.
	Via peer.ID
	// Data belongs to the reader.
	Data []byte
	// Direct reports whether it is a broadcast, not gossip.
	Direct bool
	// Lost counts the messages before this one that were dropped because the reader
	// was slow.
	Lost uint64
}

// TopicOptions configure a topic. The zero value is fine.
type TopicOptions struct {
	// Validate, if not nil, judges each message, our own included: a message that
	// it refuses is neither delivered nor relayed. If a topic is open more than
	// once, all have to accept. Several goroutines call it, with a context that
	// ends after ten seconds; it must not keep the data.
	Validate func(ctx context.Context, m Message) bool
}

// A Topic is a subscription; Swarm.Topic makes one, and Close ends it.
type Topic struct {
	s         *Swarm
	name      string
	validator func(context.Context, Message) bool // nil: accept everything

	mu     sync.Mutex // guards the following
	queued []Message
	bytes  int
	lost   uint64
	closed bool
	ready  chan struct{} // has room for one: a message was queued
	done   chan struct{} // closed by Close
}

// gossip is what the topics of a swarm share.
type gossip struct {
	mu     sync.Mutex // guards the following
	pubsub *pubsub.PubSub
	topics map[string]*joinedTopic
}

// A joinedTopic is a topic that has at least one subscription.
type joinedTopic struct {
	topic        *pubsub.Topic
	subscription *pubsub.Subscription
	cancel       context.CancelFunc
	pumped       chan struct{} // closed when the pump has ended

	left chan struct{} // closed when the topic may be joined again

	// The following is guarded by gossip.mu. A topic without readers is about to be
	// left. If validating is set, pubsub calls gossip.validate.
	readers    map[*Topic]struct{}
	validating bool
}

// Topic subscribes to a topic of gossipsub, and to broadcasts of that name.
// Messages that arrive from now on wait for Topic.Messages, up to a bound. The
// first topic starts gossipsub. A topic may be opened more than once.
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
		j, err = s.join(name, o.Validate != nil)
	case o.Validate != nil && !j.validating:
		err = s.registerValidator(name)
		j.validating = err == nil
	}
	if err != nil {
		return nil, fmt.Errorf("swarm: topic %q: %w", name, err)
	}
	t := &Topic{s: s, name: name, validator: o.Validate, ready: make(chan struct{}, 1), done: make(chan struct{})}
	j.readers[t] = struct{}{}
	return t, nil
}

// join joins and subscribes to a topic. With validating, it validates from the
// first message on. The caller holds s.gossip.mu.
func (s *Swarm) join(name string, validating bool) (_ *joinedTopic, err error) {
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
			// Send our own messages to all connected subscribers. Otherwise only
			// peers in the mesh get them, which takes a second to form, and earlier
			// messages are lost.
			pubsub.WithFloodPublish(true),
			pubsub.WithValidateThrottle(maxValidating),
			pubsub.WithLogger(s.log))
		if err != nil {
			return nil, err
		}
		g.topics = make(map[string]*joinedTopic)
	}
	if validating {
		if err := s.registerValidator(name); err != nil {
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
	j := &joinedTopic{
		topic: topic, subscription: subscription, cancel: cancel,
		pumped: make(chan struct{}), left: make(chan struct{}), readers: make(map[*Topic]struct{}),
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

// registerValidator makes pubsub validate the messages of a topic.
func (s *Swarm) registerValidator(name string) error {
	validate := func(ctx context.Context, via peer.ID, m *pubsub.Message) bool {
		if !s.hold() { // pubsub doesn't wait for its validators when it closes
			return false
		}
		defer s.running.Done()
		validators, ok := s.gossip.validate(ctx, name, Message{From: m.GetFrom(), Via: via, Data: m.Data})
		m.ValidatorData = validators
		return ok
	}
	return s.gossip.pubsub.RegisterTopicValidator(name, validate,
		pubsub.WithValidatorConcurrency(maxValidating), pubsub.WithValidatorTimeout(validationTimeout))
}

// validate calls the validators of a topic's readers until one refuses, and returns
// the readers that have one. A message for a topic that is not open is refused.
func (g *gossip) validate(ctx context.Context, name string, m Message) (validators []*Topic, ok bool) {
	g.mu.Lock()
	if j := g.topics[name]; j != nil {
		ok = len(j.readers) > 0
		for t := range j.readers {
			if t.validator != nil {
				validators = append(validators, t)
			}
		}
	}
	g.mu.Unlock()
	for _, t := range validators {
		ok = ok && t.validator(ctx, m)
	}
	return validators, ok
}

// isOpen reports whether the topic is open here.
func (g *gossip) isOpen(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.topics[name]
	return j != nil && len(j.readers) > 0
}

// pump delivers gossip messages to the readers.
func (s *Swarm) pump(ctx context.Context, j *joinedTopic) {
	defer close(j.pumped)
	for {
		m, err := j.subscription.Next(ctx)
		if err != nil {
			return
		}
		if from := m.GetFrom(); from != s.ID() {
			validators, _ := m.ValidatorData.([]*Topic)
			s.gossip.deliver(j.topic.String(), Message{From: from, Via: m.ReceivedFrom, Data: m.Data}, validators)
		}
	}
}

// deliver queues a message for the readers of a topic. A reader with a validator
// gets it only if that was called: others opened the topic after it had arrived.
func (g *gossip) deliver(name string, m Message, validators []*Topic) {
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.topics[name]
	if j == nil {
		return
	}
	for t := range j.readers {
		if t.validator == nil || slices.Contains(validators, t) {
			t.enqueue(m)
		}
	}
}

// enqueue queues a copy of a message for the reader, or drops it if the queue is
// full.
func (t *Topic) enqueue(m Message) {
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
	case t.ready <- struct{}{}:
	default:
	}
}

// dequeue removes and returns the first message of the queue.
func (t *Topic) dequeue() (Message, bool) {
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

// Name returns the topic's name.
func (t *Topic) Name() string { return t.name }

// Messages yields the messages of other peers in the order of arrival: those that
// are queued since the topic was opened, and then new ones. It ends when the topic
// or the swarm closes, or with the context, and then yields its error. Concurrent
// iterations share the messages.
func (t *Topic) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			for m, ok := t.dequeue(); ok; m, ok = t.dequeue() {
				if !yield(m, nil) {
					return
				}
			}
			select {
			case <-t.ready:
			case <-t.done:
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

// Publish sends a message of at most MaxMessage bytes to all subscribers, through
// peers that have subscribed. The node's key signs it. There is no confirmation:
// peers more than one step away can miss it, above all in the first second after
// they subscribed.
func (t *Topic) Publish(ctx context.Context, data []byte) error {
	if len(data) > MaxMessage {
		return fmt.Errorf("swarm: publish to %q: the message has %d bytes, more than %d", t.name, len(data), MaxMessage)
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

// Broadcast calls Swarm.Broadcast for the topic.
func (t *Topic) Broadcast(ctx context.Context, data []byte) (int, error) {
	return t.s.Broadcast(ctx, t.name, data)
}

// Peers returns the connected peers that have subscribed.
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

// Close ends the subscription and its iterations. Further calls do nothing.
func (t *Topic) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	close(t.done)
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
	<-j.pumped
	err := j.topic.Close()
	g.mu.Lock()
	if j.validating {
		err = errors.Join(err, g.pubsub.UnregisterTopicValidator(t.name))
	}
	delete(g.topics, t.name)
	close(j.left)
	g.mu.Unlock()
	// Errors after the swarm has closed don't matter.
	if err != nil && t.s.ctx.Err() == nil {
		return fmt.Errorf("swarm: close topic %q: %w", t.name, err)
	}
	return nil
}

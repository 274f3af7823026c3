package cairn

import (
	"context"
	"iter"

	"github.com/cairn-ipfs/cairn/internal/swarm"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A Message was received on a Topic.
type Message struct {
	From peer.ID
	Data []byte
}

// A Topic sends messages to the peers that joined it, and receives theirs.
type Topic struct{ topic *swarm.Topic }

// TopicOptions configure a topic. The zero value is fine.
type TopicOptions struct {
	// Valid, if not nil, is called for each message, also our own. A message that
	// it rejects is neither delivered nor forwarded. Several goroutines call it,
	// with a context that ends after ten seconds. It must not keep the data.
	Valid func(ctx context.Context, m Message) bool
}

// Topic joins a topic. Close it when done.
func (n *Node) Topic(ctx context.Context, name string, o TopicOptions) (*Topic, error) {
	net, err := n.network(ctx)
	if err != nil {
		return nil, err
	}
	var so swarm.TopicOptions
	if valid := o.Valid; valid != nil {
		so.Validate = func(ctx context.Context, m swarm.Message) bool {
			return valid(ctx, Message{From: m.From, Data: m.Data})
		}
	}
	t, err := net.swarm.Topic(name, so)
	if err != nil {
		return nil, err
	}
	return &Topic{t}, nil
}

// Publish sends a message by gossipsub to all peers that joined the topic, also to
// those that the node is not connected to.
func (t *Topic) Publish(ctx context.Context, data []byte) error { return t.topic.Publish(ctx, data) }

// Broadcast sends a message directly to the connected peers that joined the topic,
// and returns their number.
func (t *Topic) Broadcast(ctx context.Context, data []byte) (int, error) {
	return t.topic.Broadcast(ctx, data)
}

// Messages yields received messages until ctx ends or the topic is closed.
func (t *Topic) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for m, err := range t.topic.Messages(ctx) {
			if !yield(Message{From: m.From, Data: m.Data}, err) {
				return
			}
		}
	}
}

// Close leaves the topic.
func (t *Topic) Close() error { return t.topic.Close() }

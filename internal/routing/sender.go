package routing

import (
	"context"
	"errors"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// messageTimeout bounds one request to one peer. A useful answer takes a few
// round trips.
const messageTimeout = 10 * time.Second

var errNoRecord = errors.New("the peer's answer has no record")

// A sender sends a DHT's messages, each on a stream of its own: opening one
// costs no round trip, and a peer that hangs delays no other message. It records
// each request in the lookup of its context.
type sender struct {
	host      host.Host
	protocols []protocol.ID
}

var _ pb.MessageSenderWithDisconnect = (*sender)(nil)

// newSender returns a constructor of senders for kad-dht. They use the given
// protocols, or else those of the DHT.
func newSender(protocols ...protocol.ID) func(host.Host, []protocol.ID) pb.MessageSenderWithDisconnect {
	return func(h host.Host, own []protocol.ID) pb.MessageSenderWithDisconnect {
		if len(protocols) > 0 {
			own = protocols
		}
		return &sender{host: h, protocols: own}
	}
}

// OnDisconnect does nothing: no stream outlives its message.
func (s *sender) OnDisconnect(context.Context, peer.ID) {}

// SendRequest asks a peer and waits for its answer.
func (s *sender) SendRequest(ctx context.Context, p peer.ID, m *pb.Message) (*pb.Message, error) {
	l := lookupFrom(ctx)
	l.recordQuestion(p)
	began := time.Now()
	answer, err := s.send(ctx, p, m, true)
	if err == nil && m.GetType() == pb.Message_PUT_VALUE && answer.GetRecord() == nil {
		// kad-dht would use the record without checking that there is one.
		answer, err = nil, errNoRecord
	}
	took := time.Since(began)
	if err == nil {
		s.host.Peerstore().RecordLatency(p, took)
	}
	l.recordAnswer(p, answer, took, err)
	return answer, err
}

// SendMessage sends a message that has no answer.
func (s *sender) SendMessage(ctx context.Context, p peer.ID, m *pb.Message) error {
	_, err := s.send(ctx, p, m, false)
	return err
}

func (s *sender) send(ctx context.Context, p peer.ID, m *pb.Message, wait bool) (_ *pb.Message, err error) {
	ctx, cancel := context.WithTimeout(ctx, messageTimeout)
	defer cancel()
	stream, err := s.host.NewStream(ctx, p, s.protocols...)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { stream.Reset() })
	whole := true
	defer func() {
		if !stop() && err != nil {
			err = ctx.Err() // why the stream was reset
		}
		if err != nil || !whole {
			stream.Reset()
		} else {
			stream.Close()
		}
	}()
	if err := writeMessage(stream, m); err != nil {
		return nil, err
	}
	if !wait {
		return nil, nil
	}
	answer, whole, err := readMessage(stream)
	return answer, err
}

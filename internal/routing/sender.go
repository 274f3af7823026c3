package routing

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/proto"
)

const (
	// messageTimeout bounds one question to one peer. Answers that are of use
	// take a few round trips.
	messageTimeout = 10 * time.Second

	// maxAnswer bounds an answer, in bytes: 20 closer peers and 100 providers,
	// each with 16 addresses, are below 200 KiB.
	maxAnswer = 1 << 20
)

var errNoRecord = errors.New("the peer's answer has no record")

// A sender sends a DHT's messages, each on a stream of its own: opening one
// costs no round trip, and who hangs holds up nothing else. It tells the
// look-up to which a question belongs.
type sender struct {
	host      host.Host
	protocols []protocol.ID
}

var _ pb.MessageSenderWithDisconnect = (*sender)(nil)

// senderOf makes senders for kad-dht, with the protocols given, or with the
// DHT's own.
func senderOf(protocols ...protocol.ID) func(host.Host, []protocol.ID) pb.MessageSenderWithDisconnect {
	return func(h host.Host, own []protocol.ID) pb.MessageSenderWithDisconnect {
		if len(protocols) > 0 {
			own = protocols
		}
		return &sender{host: h, protocols: own}
	}
}

// OnDisconnect has nothing to do: no stream outlives its message.
func (s *sender) OnDisconnect(context.Context, peer.ID) {}

// SendRequest asks a peer and waits for its answer.
func (s *sender) SendRequest(ctx context.Context, p peer.ID, m *pb.Message) (*pb.Message, error) {
	l := lookupOf(ctx)
	l.ask(p)
	began := time.Now()
	answer, err := s.send(ctx, p, m, true)
	if err == nil && m.GetType() == pb.Message_PUT_VALUE && answer.GetRecord() == nil {
		// kad-dht would look into the record without looking for it.
		answer, err = nil, errNoRecord
	}
	took := time.Since(began)
	if err == nil {
		s.host.Peerstore().RecordLatency(p, took)
	}
	l.answer(p, answer, took, err)
	return answer, err
}

// SendMessage tells a peer something that is not answered.
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
	defer func() {
		if !stop() && err != nil {
			err = ctx.Err() // why the stream was reset
		}
		if err != nil {
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
	return readMessage(stream)
}

func writeMessage(w network.Stream, m *pb.Message) error {
	b := varint.ToUvarint(uint64(proto.Size(m)))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.CloseWrite()
}

func readMessage(r io.Reader) (*pb.Message, error) {
	in := bufio.NewReader(r)
	size, err := varint.ReadUvarint(in)
	if err != nil {
		return nil, err
	}
	if size > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes; the limit is %d", size, maxAnswer)
	}
	// What is read counts, not what is claimed.
	b, err := io.ReadAll(io.LimitReader(in, int64(size)))
	if err != nil {
		return nil, err
	}
	if uint64(len(b)) < size {
		return nil, io.ErrUnexpectedEOF
	}
	m := new(pb.Message)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, err
	}
	return m, nil
}

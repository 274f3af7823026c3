package routing

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// maxAnswer bounds an answer, in bytes: for a popular block, kad-dht's servers
	// send as many providers as fit in it.
	maxAnswer = network.MessageSizeMax

	// maxKept bounds the part of an answer that is kept, in bytes. maxPeers bounds
	// its closer peers, and its providers; maxPeerAddrs bounds the addresses of
	// each. In memory the smallest ones take fifty times their size on the wire. A
	// thousand providers with ten addresses take 500 KiB, and no session tries
	// more.
	maxKept      = 1 << 20
	maxPeers     = 1000
	maxPeerAddrs = 4 * maxAddrs

	// Numbers of the fields of a message that list peers, and of the field of a
	// peer that lists addresses.
	closerField   = 8
	providerField = 9
	addrField     = 2
)

var errMessage = errors.New("malformed message")

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

// readMessage reads a message, and keeps as many of its peers as are of use. It
// stops at the first provider beyond those, and then whole is false.
func readMessage(r io.Reader) (_ *pb.Message, whole bool, err error) {
	in := bufio.NewReader(r)
	size, err := varint.ReadUvarint(in)
	if err != nil {
		return nil, false, err
	}
	if size > maxAnswer {
		return nil, false, fmt.Errorf("answer has %d bytes, more than %d", size, maxAnswer)
	}
	f := fieldReader{in: in, left: size}
	kept, err := f.readBounded()
	if err != nil {
		return nil, false, err
	}
	m := new(pb.Message)
	if err := proto.Unmarshal(kept, m); err != nil {
		return nil, false, err
	}
	return m, f.left == 0, nil
}

// A fieldReader reads a message field by field.
type fieldReader struct {
	in   *bufio.Reader
	left uint64
}

// readBounded reads the message and returns it without excess peers. It stops at
// the first excess provider: closer peers come before the providers.
func (f *fieldReader) readBounded() (kept []byte, err error) {
	peers := make(map[protowire.Number]int)
	for f.left > 0 {
		tag, err := f.varint()
		if err != nil {
			return nil, err
		}
		number, kind := protowire.DecodeTag(tag)
		var value []byte
		switch kind {
		case protowire.VarintType:
			var v uint64
			v, err = f.varint()
			value = protowire.AppendVarint(nil, v)
		case protowire.Fixed32Type:
			value, err = f.bytes(4)
		case protowire.Fixed64Type:
			value, err = f.bytes(8)
		case protowire.BytesType:
			var size uint64
			if size, err = f.varint(); err != nil {
				return nil, err
			}
			fits := size <= uint64(max(0, maxKept-len(kept)))
			isPeer := number == closerField || number == providerField
			switch {
			case isPeer && (!fits || peers[number] == maxPeers):
				if number == providerField {
					return kept, nil
				}
				if err := f.skip(size); err != nil {
					return nil, err
				}
				continue
			case !fits:
				return nil, fmt.Errorf("answer has more than %d bytes besides peers", maxKept)
			}
			value, err = f.bytes(size)
			if err == nil && isPeer {
				peers[number]++
				value, err = trimPeer(value)
			}
			value = protowire.AppendBytes(nil, value)
		default:
			err = errMessage
		}
		if err != nil {
			return nil, err
		}
		kept = append(protowire.AppendVarint(kept, tag), value...)
		if len(kept) > 2*maxKept {
			return nil, fmt.Errorf("answer has more than %d bytes besides peers", maxKept)
		}
	}
	return kept, nil
}

// ReadByte implements io.ByteReader, for varint.
func (f *fieldReader) ReadByte() (byte, error) {
	if f.left == 0 {
		return 0, errMessage
	}
	f.left--
	return f.in.ReadByte()
}

func (f *fieldReader) varint() (uint64, error) {
	v, err := binary.ReadUvarint(f)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return v, err
}

func (f *fieldReader) bytes(n uint64) ([]byte, error) {
	if n > f.left {
		return nil, errMessage
	}
	f.left -= n
	// Memory grows with the bytes that arrive, not with the claimed size.
	b, err := io.ReadAll(io.LimitReader(f.in, int64(n)))
	if err == nil && uint64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func (f *fieldReader) skip(n uint64) error {
	if n > f.left {
		return errMessage
	}
	f.left -= n
	_, err := io.CopyN(io.Discard, f.in, int64(n))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// trimPeer returns a peer of a message without its excess addresses. It
// overwrites its argument.
func trimPeer(peer []byte) ([]byte, error) {
	kept, addrs := peer[:0], 0
	for rest := peer; len(rest) > 0; {
		number, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return nil, errMessage
		}
		if number == addrField {
			addrs++
		}
		if number != addrField || addrs <= maxPeerAddrs {
			kept = append(kept, rest[:n]...)
		}
		rest = rest[n:]
	}
	return kept, nil
}

package bitswap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-ipfs/cairn/block"
)

// A sink takes the parts of a message as they are decoded. An error ends the
// decoding, and is returned unchanged.
type sink interface {
	// wants takes entries of the message's want list, in pieces. The slice is
	// used again when it returns.
	wants(entries []entry) error
	// endWants marks the end of a message with a want list. A full one replaces
	// all wants before it.
	endWants(full bool) error
	// buffer returns the memory for a block of n bytes, or nil to skip it.
	buffer(n int) ([]byte, error)
	// block takes a block of n bytes, whose data lie in what buffer returned.
	block(p cid.Prefix, data []byte, n int) error
	// presence takes a HAVE or DONT_HAVE.
	presence(c cid.Cid, have bool) error
}

// A decoder reads messages. Its reader's buffer must hold maxSmall bytes.
type decoder struct {
	r       *bufio.Reader
	left    int // bytes of the message
	skipped int // bytes of unknown fields in the message
	entries []entry
}

// begun reports whether start can return without waiting for bytes.
func (d *decoder) begun() bool {
	p, _ := d.r.Peek(min(d.r.Buffered(), binary.MaxVarintLen64))
	return len(p) == binary.MaxVarintLen64 || slices.ContainsFunc(p, func(c byte) bool { return c < 0x80 })
}

// start reads the length of the next message. It returns io.EOF if there is none.
func (d *decoder) start() (int, error) {
	var n uint64
	for shift := 0; ; shift += 7 {
		c, err := d.r.ReadByte()
		if err != nil {
			if shift > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		n |= uint64(c&0x7f) << shift
		if n > maxMessage || shift > 28 {
			return 0, malformed("longer than %d bytes", maxMessage)
		}
		if c < 0x80 {
			return int(n), nil
		}
	}
}

// message decodes a message of n bytes.
func (d *decoder) message(n int, s sink) error {
	d.left, d.skipped = n, 0
	var list wantlist
	for d.left > 0 {
		num, typ, err := d.tag()
		if err != nil {
			return err
		}
		if typ != protowire.BytesType {
			err = d.skip(typ)
		} else {
			switch num {
			case messageWantlist:
				err = d.wantlist(&list, s)
			case messageBlocks:
				err = d.oldBlock(s)
			case messagePayload:
				err = d.payload(s)
			case messagePresence:
				err = d.presence(s)
			default:
				err = d.skip(typ)
			}
		}
		if err != nil {
			return err
		}
	}
	if list.count == 0 && !list.full {
		return nil
	}
	if err := d.pass(s); err != nil {
		return err
	}
	return s.endWants(list.full)
}

type wantlist struct {
	count int // of entries, including ignored ones
	full  bool
}

// pass hands the decoded entries on.
func (d *decoder) pass(s sink) error {
	if len(d.entries) == 0 {
		return nil
	}
	err := s.wants(d.entries)
	clear(d.entries)
	d.entries = d.entries[:0]
	return err
}

func (d *decoder) wantlist(list *wantlist, s sink) error {
	end, err := d.enter()
	if err != nil {
		return err
	}
	for d.left > end {
		num, typ, err := d.tag()
		switch {
		case err != nil:
			return err
		case num == wantlistEntries && typ == protowire.BytesType:
			if list.count++; list.count > maxEntries {
				return malformed("more than %d wants", maxEntries)
			}
			p, err := d.small()
			if err != nil {
				return err
			}
			e, err := decodeEntry(p)
			switch {
			case err == nil:
				d.entries = append(d.entries, e)
			case !errors.Is(err, errRefused):
				return err
			}
			if err := d.discard(len(p)); err != nil {
				return err
			}
			if len(d.entries) == maxPiece {
				if err := d.pass(s); err != nil {
					return err
				}
			}
		case num == wantlistFull && typ == protowire.VarintType:
			v, err := d.uvarint()
			if err != nil {
				return err
			}
			list.full = v != 0
		default:
			if err := d.skip(typ); err != nil {
				return err
			}
		}
		if d.left < end {
			return malformed("a want list with fields beyond its end")
		}
	}
	return nil
}

// errRefused: no block here has such a CID. That isn't the peer's fault.
var errRefused = errors.New("refused CID")

func decodeCID(p []byte) (cid.Cid, error) {
	c, n, err := block.ReadCID(p)
	if err != nil {
		if errors.Is(err, block.ErrHashRefused) || errors.Is(err, block.ErrTooLarge) {
			return cid.Undef, errRefused
		}
		return cid.Undef, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if n != len(p) {
		return cid.Undef, malformed("%d bytes after a CID", len(p)-n)
	}
	return c, nil
}

// fields calls each with every field of p: its number and type, and its value,
// either v or data.
func fields(p []byte, each func(num protowire.Number, typ protowire.Type, v uint64, data []byte)) error {
	for len(p) > 0 {
		num, typ, n := protowire.ConsumeTag(p)
		if n < 0 {
			return malformed("a field's tag")
		}
		p = p[n:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(p)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(p)
		case protowire.Fixed32Type, protowire.Fixed64Type:
			n = protowire.ConsumeFieldValue(num, typ, p)
		default:
			return malformed("a field of type %d", typ)
		}
		if n < 0 {
			return malformed("a field's value")
		}
		p = p[n:]
		each(num, typ, v, data)
	}
	return nil
}

func decodeEntry(p []byte) (entry, error) {
	var e entry
	var name []byte
	kind := uint64(WantBlock)
	err := fields(p, func(num protowire.Number, typ protowire.Type, v uint64, data []byte) {
		switch {
		case num == entryCID && typ == protowire.BytesType:
			name = data
		case typ != protowire.VarintType:
		case num == entryPriority:
			e.priority = int32(v)
		case num == entryCancel:
			e.cancel = v != 0
		case num == entryKind:
			kind = v
		case num == entrySendDontHave:
			e.sendDontHave = v != 0
		}
	})
	if err != nil {
		return entry{}, err
	}
	if e.cid, err = decodeCID(name); err != nil {
		return entry{}, err
	}
	if kind > uint64(WantHave) {
		return entry{}, errRefused // a kind of want that isn't known
	}
	e.kind = Want(kind)
	return e, nil
}

func (d *decoder) presence(s sink) error {
	p, err := d.small()
	if err != nil {
		return err
	}
	var name []byte
	var kind uint64
	err = fields(p, func(num protowire.Number, typ protowire.Type, v uint64, data []byte) {
		switch {
		case num == presenceCID && typ == protowire.BytesType:
			name = data
		case num == presenceKind && typ == protowire.VarintType:
			kind = v
		}
	})
	if err != nil {
		return err
	}
	c, err := decodeCID(name)
	if err != nil && !errors.Is(err, errRefused) {
		return err
	}
	if discardErr := d.discard(len(p)); discardErr != nil {
		return discardErr
	}
	if err != nil || kind > 1 {
		return nil
	}
	return s.presence(c, kind == 0)
}

// oldBlock decodes a block of 1.0.0, which has no prefix.
func (d *decoder) oldBlock(s sink) error {
	data, n, err := d.data(d.left, s)
	if err != nil {
		return err
	}
	return s.block(cid.Prefix{Version: 0, Codec: block.DagPB, MhType: block.SHA2_256, MhLength: 32}, data, n)
}

func (d *decoder) payload(s sink) error {
	end, err := d.enter()
	if err != nil {
		return err
	}
	var prefix cid.Prefix
	var data []byte
	var hasPrefix, hasData bool
	size := 0
	for d.left > end {
		num, typ, err := d.tag()
		switch {
		case err != nil:
			return err
		case num == payloadPrefix && typ == protowire.BytesType && !hasPrefix:
			p, err := d.small()
			if err != nil {
				return err
			}
			if prefix, err = cid.PrefixFromBytes(p); err != nil {
				return malformed("a block's prefix: %v", err)
			}
			if err := d.discard(len(p)); err != nil {
				return err
			}
			hasPrefix = true
		case num == payloadData && typ == protowire.BytesType && !hasData:
			if data, size, err = d.data(d.left-end, s); err != nil {
				return err
			}
			hasData = true
		default:
			if err := d.skip(typ); err != nil {
				return err
			}
		}
		if d.left < end {
			return malformed("a block with fields beyond its end")
		}
	}
	if !hasPrefix {
		return malformed("a block without a prefix")
	}
	if !hasData { // encoders of proto3 write an empty block so
		if data, err = s.buffer(0); err != nil {
			return err
		}
	}
	return s.block(prefix, data, size)
}

// data reads a block's bytes into the sink's buffer. They and their length take at
// most limit bytes.
func (d *decoder) data(limit int, s sink) ([]byte, int, error) {
	before := d.left
	n, err := d.length()
	if err != nil {
		return nil, 0, err
	}
	if before-d.left+n > limit {
		return nil, 0, malformed("a block's data beyond its end")
	}
	data, err := s.buffer(n)
	if err != nil {
		return nil, 0, err
	}
	if data == nil {
		return nil, n, d.discard(n)
	}
	d.left -= n
	_, err = io.ReadFull(d.r, data)
	return data, n, truncated(err)
}

// enter reads a nested message's length. It returns how many bytes of the message
// follow the nested one.
func (d *decoder) enter() (int, error) {
	n, err := d.length()
	return d.left - n, err
}

func (d *decoder) tag() (protowire.Number, protowire.Type, error) {
	v, err := d.uvarint()
	if err != nil {
		return 0, 0, err
	}
	num, typ := protowire.DecodeTag(v)
	if num < protowire.MinValidNumber {
		return 0, 0, malformed("field number %d", num)
	}
	return num, typ, nil
}

func (d *decoder) uvarint() (uint64, error) {
	// All of these bytes belong to the message, so Peek may wait for them.
	p, err := d.r.Peek(min(d.left, 10))
	if err != nil {
		return 0, truncated(err)
	}
	v, n := protowire.ConsumeVarint(p)
	if n < 0 {
		return 0, malformed("a number")
	}
	return v, d.discard(n)
}

// length reads the length of a field, which must end within the message.
func (d *decoder) length() (int, error) {
	n, err := d.uvarint()
	if err != nil {
		return 0, err
	}
	if n > uint64(d.left) {
		return 0, malformed("a field beyond the message's end")
	}
	return int(n), nil
}

// small returns the bytes of a short field, which lie in the reader's buffer. The
// caller discards them after use.
func (d *decoder) small() ([]byte, error) {
	n, err := d.length()
	if err != nil {
		return nil, err
	}
	if n > maxSmall {
		return nil, malformed("a CID's field of %d bytes", n)
	}
	p, err := d.r.Peek(n)
	return p, truncated(err)
}

func (d *decoder) skip(typ protowire.Type) error {
	n := 0
	var err error
	before := d.left
	switch typ {
	case protowire.VarintType:
		_, err = d.uvarint()
	case protowire.Fixed32Type:
		n = 4
	case protowire.Fixed64Type:
		n = 8
	case protowire.BytesType:
		n, err = d.length()
	default:
		return malformed("a field of type %d", typ)
	}
	if err != nil {
		return err
	}
	if d.skipped += before - d.left + n; d.skipped > maxSkipped {
		return malformed("more than %d bytes of unknown fields", maxSkipped)
	}
	return d.discard(n)
}

func (d *decoder) discard(n int) error {
	if n > d.left {
		return malformed("a field beyond the message's end")
	}
	d.left -= n
	_, err := d.r.Discard(n)
	return truncated(err)
}

// truncated makes an end within a message an io.ErrUnexpectedEOF.
func truncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

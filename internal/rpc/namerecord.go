package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn"
)

// recordType is the media type of records (IPIP-351).
const recordType = "application/vnd.ipfs.ipns-record"

// nameGet answers with a name's record, as it was signed.
func (c *call) nameGet() error {
	o := c.resolveOptions("nocache")
	if c.bad != nil {
		return c.bad
	}
	r, err := c.node.NameRecord(c.ctx, c.args[0], o)
	if err != nil {
		return err
	}
	c.w.Header().Set(contentLength, fmt.Sprint(len(r.Raw)))
	_, err = c.bytes(recordType).Write(r.Raw)
	return err
}

// nameRecord is ours: it tells of which name the record is, too.
func (c *call) nameRecord() error {
	o := c.resolveOptions("latest")
	if c.bad != nil {
		return c.bad
	}
	return c.kept(c.node.NameRecord(c.ctx, c.args[0], o))
}

// NameRecord asks the daemon for a name's record, as cairn.Node.NameRecord does.
func (c *Client) NameRecord(ctx context.Context, name string, o cairn.ResolveOptions) (cairn.NameRecord, error) {
	r := request{verb: "cairn/name/record", args: []string{name}}
	r.resolveOptions(o)
	return c.keptRecord(ctx, r)
}

// namePut is Kubo's: what nobody took is an error, unless allow-offline.
func (c *call) namePut() error {
	allow, base := c.flag("allow-offline", false), c.nameBase()
	if c.bad != nil {
		return c.bad
	}
	r, err := c.putRecord()
	if err != nil && !(allow && errors.Is(err, cairn.ErrNotSent)) {
		return err
	}
	return c.value(nameEntry{base(r.Name), r.Value})
}

func (c *call) putRecord() (cairn.NameRecord, error) {
	raw, err := c.onePart(cairn.MaxNameRecord)
	if err != nil {
		return cairn.NameRecord{}, err
	}
	return c.node.PutNameRecord(c.ctx, c.args[0], raw)
}

// putNameRecord is ours: it tells of the record.
func (c *call) putNameRecord() error { return c.kept(c.putRecord()) }

// PutNameRecord gives the daemon a record of a name, as
// cairn.Node.PutNameRecord does.
func (c *Client) PutNameRecord(ctx context.Context, name string, raw []byte) (cairn.NameRecord, error) {
	r := request{verb: "cairn/name/put", args: []string{name}}
	if err := r.file("record", raw); err != nil {
		return cairn.NameRecord{}, err
	}
	return c.keptRecord(ctx, r)
}

// An inspection is what Kubo tells of a record.
type inspection struct {
	Entry struct {
		Value        string
		ValidityType int // 0: it ends with Validity
		Validity     time.Time
		Sequence     uint64
		TTL          time.Duration
	}
	PbSize     int
	Validation *validation `json:",omitempty"`
}

type validation struct {
	Valid  bool
	Reason string
	Name   string
}

// nameInspect tells what a record says, and with the option verify whether it is
// that name's.
func (c *call) nameInspect() error {
	name := c.query.Get("verify")
	raw, err := c.onePart(cairn.MaxNameRecord)
	if err != nil {
		return err
	}
	r, err := cairn.InspectNameRecord(raw)
	if err != nil {
		return err
	}
	var out inspection
	out.Entry.Value, out.Entry.Validity, out.Entry.Sequence, out.Entry.TTL = r.Value, r.Validity, r.Sequence, r.TTL
	out.PbSize = len(raw)
	if name != "" {
		out.Validation = &validation{Name: name}
		signed, err := cairn.ParseNameRecord(name, raw)
		if err == nil {
			err = signed.Valid(time.Now())
		}
		if out.Validation.Valid = err == nil; err != nil {
			out.Validation.Reason = err.Error()
		}
	}
	return c.value(out)
}

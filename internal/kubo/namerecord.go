package kubo

import (
	"errors"
	"fmt"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/internal/httpapi"
)

// recordType is the media type of records (IPIP-351).
const recordType = "application/vnd.ipfs.ipns-record"

// nameGet answers with a name's record, as it was signed.
func (c *call) nameGet() error {
	o := c.resolveOptions("nocache")
	if c.Invalid() != nil {
		return c.Invalid()
	}
	r, err := c.node.NameRecord(c.Context(), c.Args[0], o)
	if err != nil {
		return err
	}
	c.Header().Set(httpapi.ContentLength, fmt.Sprint(len(r.Raw)))
	_, err = c.Bytes(recordType).Write(r.Raw)
	return err
}

// namePut is Kubo's: what nobody took is an error, unless allow-offline.
func (c *call) namePut() error {
	allow, base := c.Flag("allow-offline", false), c.nameBase()
	if c.Invalid() != nil {
		return c.Invalid()
	}
	r, err := c.putRecord()
	if err != nil && !(allow && errors.Is(err, cairn.ErrNotSent)) {
		return err
	}
	return c.Value(nameEntry{base(r.Name), r.Value})
}

func (c *call) putRecord() (cairn.NameRecord, error) {
	raw, err := c.OnePart(cairn.MaxNameRecord)
	if err != nil {
		return cairn.NameRecord{}, err
	}
	return c.node.PutNameRecord(c.Context(), c.Args[0], raw)
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
	name := c.Query.Get("verify")
	raw, err := c.OnePart(cairn.MaxNameRecord)
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
	return c.Value(out)
}

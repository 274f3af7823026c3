package ipld

import (
	"bytes"
	"fmt"
	"math"
	"reflect"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

// Decode decodes a block of dag-cbor into a Go value; cairn.Decode has the rules.
func Decode[T any](b block.Block) (T, error) {
	var v T
	if codec := b.CID().Prefix().Codec; codec != block.DagCBOR {
		return v, fmt.Errorf("decode %s: %w: its codec is 0x%x, not dag-cbor", b.CID(), block.ErrMalformed, codec)
	}
	nb := basicnode.Prototype.Any.NewBuilder()
	if err := dagcbor.Decode(nb, bytes.NewReader(b.Data())); err != nil {
		return v, fmt.Errorf("decode %s: %w: %w", b.CID(), block.ErrMalformed, err)
	}
	if err := fromNode(nb.Build(), reflect.ValueOf(&v).Elem(), 0); err != nil {
		var zero T
		return zero, fmt.Errorf("decode %s into %T: %w", b.CID(), v, err)
	}
	return v, nil
}

func fromNode(n datamodel.Node, v reflect.Value, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	if v.Type() == nodeType {
		v.Set(reflect.ValueOf(n))
		return nil
	}
	if v.Kind() == reflect.Interface && v.NumMethod() == 0 {
		got, err := natural(n, depth)
		if err == nil && got != nil {
			v.Set(reflect.ValueOf(got))
		}
		return err
	}
	if n.IsNull() {
		switch v.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			v.SetZero()
			return nil
		}
		return fmt.Errorf("null doesn't fit into %s", v.Type())
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return fromNode(n, v.Elem(), depth+1)
	}
	if v.Type() == cidType {
		c, err := linkOf(n)
		if err == nil {
			v.Set(reflect.ValueOf(c))
		}
		return err
	}
	switch n.Kind() {
	case datamodel.Kind_Bool:
		if b, err := n.AsBool(); err == nil && v.Kind() == reflect.Bool {
			v.SetBool(b)
			return nil
		}
	case datamodel.Kind_Int:
		return fromInt(n, v)
	case datamodel.Kind_Float:
		if f, err := n.AsFloat(); err == nil && v.CanFloat() && !v.OverflowFloat(f) {
			v.SetFloat(f)
			return nil
		}
	case datamodel.Kind_String:
		if s, err := n.AsString(); err == nil && v.Kind() == reflect.String {
			v.SetString(s)
			return nil
		}
	case datamodel.Kind_Bytes:
		return fromBytes(n, v)
	case datamodel.Kind_List:
		return fromList(n, v, depth)
	case datamodel.Kind_Map:
		switch v.Kind() {
		case reflect.Map:
			return fromMap(n, v, depth)
		case reflect.Struct:
			return fromStruct(n, v, depth)
		}
	}
	return fmt.Errorf("%s doesn't fit into %s", n.Kind(), v.Type())
}

func fromInt(n datamodel.Node, v reflect.Value) error {
	if u, ok := n.(datamodel.UintNode); ok {
		if x, err := u.AsUint(); err == nil && x > math.MaxInt64 {
			if v.CanUint() && !v.OverflowUint(x) {
				v.SetUint(x)
				return nil
			}
			return fmt.Errorf("%d doesn't fit into %s", x, v.Type())
		}
	}
	x, err := n.AsInt()
	switch {
	case err != nil:
		return err
	case v.CanInt() && !v.OverflowInt(x):
		v.SetInt(x)
	case v.CanUint() && x >= 0 && !v.OverflowUint(uint64(x)):
		v.SetUint(uint64(x))
	default:
		return fmt.Errorf("%d doesn't fit into %s", x, v.Type())
	}
	return nil
}

func fromBytes(n datamodel.Node, v reflect.Value) error {
	p, err := n.AsBytes()
	if err != nil {
		return err
	}
	if k := v.Kind(); k != reflect.Slice && k != reflect.Array || v.Type().Elem().Kind() != reflect.Uint8 {
		return fmt.Errorf("bytes don't fit into %s", v.Type())
	}
	if v.Kind() == reflect.Array {
		if len(p) != v.Len() {
			return fmt.Errorf("%d bytes don't fit into %s", len(p), v.Type())
		}
	} else {
		v.Set(reflect.MakeSlice(v.Type(), len(p), len(p)))
	}
	reflect.Copy(v, reflect.ValueOf(p))
	return nil
}

func fromList(n datamodel.Node, v reflect.Value, depth int) error {
	size := int(n.Length())
	switch {
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), size, size))
	case v.Kind() != reflect.Array || v.Len() != size:
		return fmt.Errorf("a list of %d doesn't fit into %s", size, v.Type())
	}
	for it := n.ListIterator(); !it.Done(); {
		i, item, err := it.Next()
		if err == nil {
			err = fromNode(item, v.Index(int(i)), depth+1)
		}
		if err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

func fromMap(n datamodel.Node, v reflect.Value, depth int) error {
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		return fmt.Errorf("%s: the keys of a map must be strings", t)
	}
	v.Set(reflect.MakeMapWithSize(t, int(n.Length())))
	return entries(n, func(key string, item datamodel.Node) error {
		value := reflect.New(t.Elem()).Elem()
		if err := fromNode(item, value, depth+1); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		v.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), value)
		return nil
	})
}

func fromStruct(n datamodel.Node, v reflect.Value, depth int) error {
	fields, err := fieldsOf(v.Type())
	if err != nil {
		return err
	}
	at := make(map[string]int, len(fields))
	for _, f := range fields {
		at[f.name] = f.index
	}
	return entries(n, func(key string, item datamodel.Node) error {
		i, ok := at[key]
		if !ok {
			return nil
		}
		if err := fromNode(item, v.Field(i), depth+1); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
}

func entries(n datamodel.Node, f func(key string, item datamodel.Node) error) error {
	for it := n.MapIterator(); !it.Done(); {
		k, item, err := it.Next()
		if err != nil {
			return err
		}
		key, err := k.AsString()
		if err != nil {
			return err
		}
		if err := f(key, item); err != nil {
			return err
		}
	}
	return nil
}

// natural returns the Go value for a node that is decoded into an interface.
func natural(n datamodel.Node, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch n.Kind() {
	case datamodel.Kind_Null:
		return nil, nil
	case datamodel.Kind_Bool:
		return n.AsBool()
	case datamodel.Kind_Int:
		if u, ok := n.(datamodel.UintNode); ok {
			if x, err := u.AsUint(); err == nil && x > math.MaxInt64 {
				return x, nil
			}
		}
		return n.AsInt()
	case datamodel.Kind_Float:
		return n.AsFloat()
	case datamodel.Kind_String:
		return n.AsString()
	case datamodel.Kind_Bytes:
		p, err := n.AsBytes()
		return append([]byte{}, p...), err
	case datamodel.Kind_Link:
		return linkOf(n)
	case datamodel.Kind_List:
		list := make([]any, n.Length())
		return list, fromList(n, reflect.ValueOf(&list).Elem(), depth)
	case datamodel.Kind_Map:
		m := map[string]any{}
		return m, fromMap(n, reflect.ValueOf(&m).Elem(), depth)
	}
	return nil, fmt.Errorf("a value of kind %s", n.Kind())
}

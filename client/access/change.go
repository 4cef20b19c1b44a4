package access

// effect is what an event does to a thing.
type effect int

const (
	neither effect = iota
	gives
	takes
	ends // the thing itself is gone
)

// receivers are to whom something is given.
type receivers int

const (
	people receivers = iota
	things           // a group or a role
	either           // people, or where there are none, things
)

// change is what a class of events does.
type change struct {
	effect   effect
	relation string
	to       receivers
	// of is in the type of the thing that is given, where an event also names others.
	of string
}

// changes are the classes that give and take, OCSF class_uid*100+activity_id (1.9.0-dev, and those it deprecates). What
// lasts as long as a session, 3003, is nothing that is held.
var changes = map[int64]change{
	// Account Change
	3001_07: {gives, "policy", people, "policy"},
	3001_08: {takes, "policy", people, "policy"},
	// Entity Management
	3004_04: {ends, "", people, ""},
	// User Access Management
	3005_01: {gives, "privilege", people, ""},
	3005_02: {takes, "privilege", people, ""},
	3005_03: {gives, "role", people, "role"},
	3005_04: {takes, "role", people, "role"},
	// Group Management
	3006_01: {gives, "privilege", things, ""},
	3006_02: {takes, "privilege", things, ""},
	3006_03: {gives, "member", people, "group"},
	3006_04: {takes, "member", people, "group"},
	3006_05: {ends, "", people, "group"},
	3006_10: {gives, "policy", things, "policy"},
	3006_11: {takes, "policy", things, "policy"},
	3006_12: {gives, "role", things, "role"},
	3006_13: {takes, "role", things, "role"},
	// User Management
	3007_10: {gives, "policy", people, "policy"},
	3007_11: {takes, "policy", people, "policy"},
	3007_14: {gives, "privilege", people, ""},
	3007_15: {takes, "privilege", people, ""},
	3007_16: {gives, "role", people, "role"},
	3007_17: {takes, "role", people, "role"},
	// Role Management
	3008_03: {ends, "", people, "role"},
	3008_04: {gives, "privilege", things, ""},
	3008_05: {takes, "privilege", things, ""},
	3008_06: {gives, "resource", either, ""},
	3008_07: {takes, "resource", either, ""},
}

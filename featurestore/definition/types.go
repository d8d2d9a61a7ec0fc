package definition

// The types below are the shape of a definition file. Their tags drive the decoder
// and the JSON Schema alike:
//
//	yaml     the key; ",required" when it must be there (a list then has an entry)
//	doc      what it is, for editors
//	form     what a text must look like, see forms
//	one      the texts that are allowed, see choices
//	min, max bounds of a number, a duration or the length of a list
//	eg       examples, separated by |
//	default  what holds when it is not given, for editors
//	short    on the embedded mapping: the key that a bare value stands for

type document struct {
	mapping   `doc:"Definitions of a namespace. Several files make one catalog."`
	Namespace text          `yaml:"namespace" form:"namespace" eg:"movielens" doc:"The namespace: part of every key, table and topic name. One file must name it; all that do must agree."`
	Entities  []entityDef   `yaml:"entities" doc:"What features describe."`
	Sources   []sourceDef   `yaml:"sources" doc:"Kafka topics whose records are events."`
	Views     []viewDef     `yaml:"views" doc:"Feature views: named features of one entity, folded from one source."`
	OnDemand  []onDemandDef `yaml:"on_demand" doc:"Groups of features that are computed when they are read, from other features and from fields of the request."`
	Services  []serviceDef  `yaml:"services" doc:"Feature services: named, ordered lists of features."`
	Models    []modelDef    `yaml:"models" doc:"Models and what they may read."`
}

type entityDef struct {
	mapping     `doc:"What features describe: a user, a movie."`
	Name        text         `yaml:"name,required" form:"name" eg:"user" doc:"The entity's name."`
	Description text         `yaml:"description" doc:"For people."`
	Keys        []joinKeyDef `yaml:"keys,required" max:"8" doc:"The join keys, in the order in which they make the entity key."`
}

type joinKeyDef struct {
	mapping `doc:"One part of an entity's key."`
	Name    text `yaml:"name,required" form:"name" eg:"user_id" doc:"The join key's name."`
	Type    text `yaml:"type,required" one:"keys" doc:"The type of its values."`
}

type sourceDef struct {
	mapping     `doc:"A Kafka topic whose records are events with typed fields, or a batch source: rows that onehop materialize makes records of."`
	Name        text         `yaml:"name,required" form:"short" eg:"ratings" doc:"The source's name."`
	Description text         `yaml:"description" doc:"For people."`
	Topic       text         `yaml:"topic" form:"topic" eg:"movielens.ratings" default:"<namespace>.<name>" doc:"The Kafka topic. One source reads a topic."`
	Batch       batchDef     `yaml:"batch" doc:"Where the rows of a batch source are. It takes the place of the format."`
	Format      text         `yaml:"format" one:"formats" doc:"How records are written: json, avro with a schema registry, or protobuf with a schema registry or a descriptor set. Every source but a batch source must say."`
	Message     text         `yaml:"message" form:"message" eg:"shop.v1.Order" doc:"The full name of the message in protobuf records."`
	Descriptors text         `yaml:"descriptor_set" form:"file" eg:"order.binpb" doc:"A FileDescriptorSet with the message and its imports (buf build -o, protoc --include_imports), beside this file. Records are then plain messages, without the schema registry."`
	EventTime   eventTimeDef `yaml:"event_time,required" doc:"Where the event time is."`
	MaxAge      duration     `yaml:"max_age" min:"1s" max:"3650d" default:"7d" doc:"How much older than its record's timestamp an event may be. Older ones are dead letters. Rows of a batch source may be of any age by default, and older ones are not read."`
	MaxSkew     duration     `yaml:"max_skew" min:"0s" max:"1d" default:"5m" doc:"How much newer than its record's timestamp an event may be."`
	Retention   duration     `yaml:"retention" min:"1d" max:"36500d" eg:"400d" doc:"How long history keeps events at least, by event time: months that are wholly older are dropped. By default for ever. No view of the source may need more."`
	Explode     text         `yaml:"explode" form:"path" eg:"order.items" doc:"The path of an array of which each element is an event. Paths of fields that begin with it are read from the element, the others from the record."`
	Tombstone   text         `yaml:"tombstone" one:"tombstones" doc:"What a record without a value does. Without it such records are dead letters; delete makes the entity of the record's key be forgotten, and needs the key: true of every join field."`
	Fields      []fieldDef   `yaml:"fields,required" max:"256" doc:"The fields that are decoded; others are skipped."`
}

type batchDef struct {
	mapping `doc:"Rows that are computed elsewhere: exactly one of table, query and files. Columns are named like the fields and the event time."`
	Table   text `yaml:"table" form:"table" eg:"public.profiles" doc:"A table or view of Postgres."`
	Query   text `yaml:"query" eg:"SELECT user_id, segment, updated_at FROM profiles" doc:"One SELECT for Postgres."`
	Files   text `yaml:"files" form:"file" eg:"profiles/*.parquet" doc:"The names of Parquet, CSV or Arrow files, as a pattern with * and ?. A relative one is relative to where onehop materialize --files says."`
}

type eventTimeDef struct {
	mapping `doc:"When an event happened: exactly one of field, path and record. What is named here is not one of the fields."`
	Field   text    `yaml:"field" form:"member" eg:"event_time" doc:"The field's name in the record."`
	Path    text    `yaml:"path" form:"path" eg:"meta.at" doc:"The path of the field in nested records."`
	Record  boolean `yaml:"record" default:"false" doc:"Whether the record's timestamp is the event time."`
	Unit    text    `yaml:"unit" one:"units" doc:"us, ms and s are numbers since 1970 in UTC, rfc3339 is text. Avro and protobuf may leave it out where the value is a timestamp by its type; a batch source has none."`
}

type fieldDef struct {
	mapping     `doc:"One typed field of a source's events: the member of the record with its name, or what path, key or header say."`
	Name        text    `yaml:"name,required" form:"field" eg:"movie_id" doc:"The field's name."`
	Type        text    `yaml:"type,required" one:"types" doc:"The type of its values."`
	Path        text    `yaml:"path" form:"path" eg:"customer.address.city" doc:"Where it is in nested records; by default at the name."`
	Key         boolean `yaml:"key" default:"false" doc:"Whether it is the key of the Kafka record: text and bytes as they are, an int64 in decimal."`
	Header      text    `yaml:"header" form:"member" eg:"tenant" doc:"The header of the Kafka record that holds it: text and bytes as they are, the others as text."`
	Required    boolean `yaml:"required" default:"false" doc:"Whether a record without the field, or with null, is refused."`
	Default     literal `yaml:"default" doc:"The value when it is missing or null."`
	MaxBytes    integer `yaml:"max_bytes" min:"1" max:"65536" doc:"The longest text, or text of a list, that is accepted, in bytes. Where rows keep values of the field it is 256 by default."`
	MaxElements integer `yaml:"max_elements" min:"1" max:"10000" doc:"The longest list that is accepted. Where rows keep values of the field it is 32 by default."`
	Description text    `yaml:"description" doc:"For people."`
}

type viewDef struct {
	mapping     `doc:"A feature view: named features of one entity, folded from one source."`
	Name        text         `yaml:"name,required" form:"short" eg:"user_ratings" doc:"The view's name."`
	Description text         `yaml:"description" doc:"For people."`
	Entity      text         `yaml:"entity,required" form:"name" eg:"user" doc:"The entity that the features describe."`
	Source      text         `yaml:"source,required" form:"short" eg:"ratings" doc:"The source that they are folded from."`
	JoinKeys    pairs        `yaml:"join_keys" doc:"The field that holds each join key; by default the field of the same name."`
	TTL         duration     `yaml:"ttl" min:"1s" max:"36500d" eg:"90d" doc:"How old an entity's newest event may be before its values are EXPIRED; by default forever."`
	NearCache   duration     `yaml:"near_cache" min:"10ms" max:"1h" eg:"2s" doc:"How old a copy of a row may be that services keep in their memory, to read it without Redis; by default none is kept."`
	Dedupe      dedupeDef    `yaml:"dedupe" doc:"Which events are the same; by default none are."`
	Features    []featureDef `yaml:"features,required" doc:"The features, in order."`
}

type dedupeDef struct {
	mapping `doc:"Events that were folded already are left out and counted as duplicates: those that bring, from the same partition, an identity that the row remembers."`
	By      text    `yaml:"by,required" form:"field" eg:"event_id" doc:"The field that identifies an event. Events without it are never duplicates."`
	Last    integer `yaml:"last" min:"1" max:"1000" default:"100" doc:"How many of the newest identities a row remembers for each partition."`
}

type featureDef struct {
	mapping     `doc:"A feature. With windows it makes a column for each, named feature_window; without it makes one column."`
	Name        text        `yaml:"name,required" form:"name" eg:"mean_rating" doc:"The feature's name."`
	Description text        `yaml:"description" doc:"For people; the catalog keeps it."`
	Aggregate   text        `yaml:"aggregate,required" one:"aggregates" doc:"What is computed."`
	Field       text        `yaml:"field" form:"field" eg:"rating" doc:"The field that is aggregated; a count may have none and then counts events."`
	Where       text        `yaml:"where" eg:"rating >= 4.0 && source == 'app'" doc:"A CEL expression over the fields of the source: only events of which it is true are aggregated."`
	N           integer     `yaml:"n" min:"1" max:"1000" doc:"The length of a last_n list."`
	Q           number      `yaml:"q" min:"0" max:"1" eg:"0.95" doc:"The quantile of a quantile, between 0 and 1."`
	Of          text        `yaml:"of" one:"variances" doc:"What a var or stddev is of: of a sample (divided by n-1) or of the population (by n)."`
	HalfLife    duration    `yaml:"half_life" min:"1s" max:"36500d" eg:"7d" doc:"The age at which an event weighs half in a decayed sum or count."`
	Exact       integer     `yaml:"exact" min:"1" max:"1000" doc:"Keep so many newest events in place of tiles: the windows are exact, and OVERFLOW when they hold more events."`
	Windows     []windowDef `yaml:"windows" doc:"What the aggregate covers."`
}

type windowDef struct {
	mapping `doc:"A sawtooth window: a length, or a length with its hop." short:"length"`
	Length  windowLength `yaml:"length,required" min:"1s" max:"36500d" eg:"1h|30d|lifetime" doc:"How far back the window reaches."`
	Hop     duration     `yaml:"hop" min:"1s" max:"36500d" eg:"1m" doc:"The granularity of the window's tail; by default the largest of 1s, 5s, 10s, 30s, 1m, 5m, 15m, 1h, 6h, 1d that is at most a sixtieth of the length, or a twelfth for distinct and quantile."`
}

type onDemandDef struct {
	mapping     `doc:"A group of on-demand features: computed when they are read, without an entity, a source or a state of their own."`
	Name        text            `yaml:"name,required" form:"short" eg:"match" doc:"The group's name; views and groups share their names."`
	Description text            `yaml:"description" doc:"For people."`
	Request     []requestDef    `yaml:"request" max:"256" doc:"The fields that a request, or a spine, brings. A field has one type in all groups."`
	Features    []expressionDef `yaml:"features,required" max:"1000" doc:"The features, in order."`
}

type expressionDef struct {
	mapping     `doc:"A feature that is computed when it is read."`
	Name        text `yaml:"name,required" form:"name" eg:"gap" doc:"The feature's name."`
	Description text `yaml:"description" doc:"For people; the catalog keeps it."`
	Expression  text `yaml:"expression,required" eg:"user_ratings.mean_rating_30d - movie_ratings.mean_rating_30d" doc:"A CEL expression over features, view.column, and request fields, request.name. What has no value is null; what cannot be evaluated is null."`
	Type        text `yaml:"type" one:"results" doc:"The type of its values, which is that of the expression; by default it is not checked."`
}

type serviceDef struct {
	mapping     `doc:"A feature service: the columns of a vector."`
	Name        text   `yaml:"name,required" form:"name" eg:"ranker" doc:"The service's name."`
	Description text   `yaml:"description" doc:"For people."`
	Features    []text `yaml:"features,required" form:"reference" eg:"user_ratings.count_1h|movie_ratings.*" doc:"The columns in order: view.column, or view.* for all columns of a view or of an on-demand group."`
	Log         logDef `yaml:"log" doc:"Keep a sample of the vectors served."`
}

type logDef struct {
	mapping   `doc:"A sample of what is served goes to the serving log, from which training sets are made and skew is measured."`
	Sample    share    `yaml:"sample,required" eg:"0.1" doc:"The share of requests that is logged: more than 0, and at most 1, which is all."`
	Retention duration `yaml:"retention" min:"1d" max:"36500d" default:"30d" doc:"How long the log keeps them at least. The longest of the definitions holds for all of the log."`
}

type modelDef struct {
	mapping     `doc:"What a model may read. The artifact and the order of its columns are in the model repository."`
	Name        text         `yaml:"name,required" form:"name" eg:"movie_ranker" doc:"The model's name."`
	Description text         `yaml:"description" doc:"For people."`
	Service     text         `yaml:"service,required" form:"name" eg:"ranker" doc:"The feature service that it reads."`
	Candidates  text         `yaml:"candidates,required" form:"name" eg:"movie" doc:"The entity of which a request brings many; one of the service's."`
	Request     []requestDef `yaml:"request" max:"256" doc:"The fields that a request brings: those of the columns request.name, and all from which on-demand features of the service are computed."`
	Log         logDef       `yaml:"log" doc:"Keep a sample of the predictions given, each with its vector."`
}

type requestDef struct {
	mapping     `doc:"One field that a request brings."`
	Name        text `yaml:"name,required" form:"name" eg:"hour_of_day" doc:"The field's name."`
	Type        text `yaml:"type,required" one:"request" doc:"The type of its values."`
	Description text `yaml:"description" doc:"For people."`
}

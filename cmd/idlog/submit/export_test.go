package submit

var Drawn = drawn

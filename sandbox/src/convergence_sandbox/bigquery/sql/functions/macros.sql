-- DuckDB macros that the function table's templates call, each after those it calls itself.
-- A macro's arguments are copied into it, so one that mentions an argument often is kept small.
-- error('…') fails the statement when its branch is evaluated.

-- Integers and floats

CREATE OR REPLACE MACRO floor_div(a, b) AS
  (a // b) - CASE WHEN (a % b) <> 0 AND ((a < 0) <> (b < 0)) THEN 1 ELSE 0 END;

CREATE OR REPLACE MACRO int_div(a, b) AS
  CASE WHEN b = 0 THEN error('division by zero: DIV') ELSE a // b END;

CREATE OR REPLACE MACRO int_mod(a, b) AS
  CASE WHEN b = 0 THEN error('division by zero: MOD') ELSE a % b END;

CREATE OR REPLACE MACRO float_div(a, b) AS
  CASE WHEN b = 0 THEN error('division by zero: x / 0') ELSE a / b END;

CREATE OR REPLACE MACRO finite_or_null(x) AS
  CASE WHEN isfinite(x) THEN x END;

CREATE OR REPLACE MACRO safe_float_add(a, b) AS
  finite_or_null(a + b);

CREATE OR REPLACE MACRO safe_float_sub(a, b) AS
  finite_or_null(a - b);

CREATE OR REPLACE MACRO safe_float_mul(a, b) AS
  finite_or_null(a * b);

CREATE OR REPLACE MACRO safe_float_div(a, b) AS
  finite_or_null(CASE WHEN b = 0 THEN NULL ELSE a / b END);

CREATE OR REPLACE MACRO float_checked(x, a) AS
  CASE
  WHEN isinf(x) AND NOT isinf(a) THEN error('floating point error: double overflow')
  ELSE x END;

CREATE OR REPLACE MACRO ieee_divide(a, b) AS
  CASE
  WHEN b <> 0 THEN a / b
  WHEN a = 0 OR isnan(a) THEN CAST('nan' AS DOUBLE)
  WHEN (a > 0) = (1 / b >= 0) THEN CAST('inf' AS DOUBLE)
  ELSE CAST('-inf' AS DOUBLE) END;

CREATE OR REPLACE MACRO sqrt_checked(x) AS
  CASE WHEN x < 0 THEN error('Argument to SQRT cannot be negative') ELSE sqrt(x) END;

CREATE OR REPLACE MACRO ln_checked(x) AS
  CASE WHEN x <= 0 THEN error('Argument to LN must be positive') ELSE ln(x) END;

CREATE OR REPLACE MACRO float_round(x, n) AS
  round(x, CAST(n AS INTEGER));

CREATE OR REPLACE MACRO float_trunc(x, n) AS
  CASE WHEN n = 0 THEN trunc(x) ELSE trunc(x * pow(10, n)) / pow(10, n) END;

CREATE OR REPLACE MACRO float_to_int(x) AS
  CASE
  WHEN isnan(x) OR abs(x) >= 9223372036854775808 THEN
  error('Illegal conversion of float to int64: ' || x)
  ELSE CAST(round(x) AS BIGINT) END;

CREATE OR REPLACE MACRO safe_float_to_int(x) AS
  CASE
  WHEN isnan(x) OR abs(x) >= 9223372036854775808 THEN NULL
  ELSE CAST(round(x) AS BIGINT) END;

CREATE OR REPLACE MACRO range_bucket(x, buckets) AS
  len(list_filter(buckets, lambda b: b <= x));

-- NUMERIC

CREATE OR REPLACE MACRO numeric_text(x) AS
  rtrim(rtrim(CAST(x AS VARCHAR), '0'), '.');

CREATE OR REPLACE MACRO numeric_to_int(x) AS
  CAST(x AS BIGINT);

CREATE OR REPLACE MACRO safe_numeric_to_int(x) AS
  TRY_CAST(x AS BIGINT);

CREATE OR REPLACE MACRO numeric_ceil(x) AS
  CAST(ceil(x) AS DECIMAL(38,9));

CREATE OR REPLACE MACRO numeric_floor(x) AS
  CAST(floor(x) AS DECIMAL(38,9));

-- The stored integer of a DECIMAL(38,9), and back.

CREATE OR REPLACE MACRO unscaled(x) AS
  CAST(x * CAST(1000000000 AS BIGINT) AS HUGEINT);

CREATE OR REPLACE MACRO rescaled(x) AS
  CAST(CAST(x AS DECIMAL(38,0)) * CAST(0.000000001 AS DECIMAL(9,9)) AS DECIMAL(38,9));

CREATE OR REPLACE MACRO nonzero(x) AS
  CASE WHEN x = 0 THEN error('division by zero: x / 0') ELSE x END;

-- Half away from zero: floor((2n + d) / 2d) of the magnitudes, then the sign.

CREATE OR REPLACE MACRO numeric_div(a, b) AS
  rescaled(sign(a) * sign(b) * ((abs(unscaled(a)) * CAST(2000000000 AS HUGEINT) +
  abs(unscaled(b))) // (2 * nonzero(abs(unscaled(b))))));

-- BIGNUMERIC: a BIGNUM holds the value times 10^38

CREATE OR REPLACE MACRO big_digits(v) AS
  lpad(ltrim(v, '-'), CAST(greatest(39, length(ltrim(v, '-'))) AS INTEGER), '0');

CREATE OR REPLACE MACRO big_point(d) AS
  rtrim(rtrim(substring(d, 1, length(d) - 38) || '.' || right(d, 38), '0'), '.');

CREATE OR REPLACE MACRO big_text(x) AS
  CASE
  WHEN CAST(x AS VARCHAR) = '0' THEN '0'
  ELSE CASE
  WHEN starts_with(CAST(x AS VARCHAR), '-') THEN '-'
  ELSE '' END || big_point(big_digits(CAST(x AS VARCHAR))) END;

CREATE OR REPLACE MACRO numeric_to_big(x) AS
  CAST(replace(CAST(x AS VARCHAR), '.', '') || '00000000000000000000000000000' AS BIGNUM);

CREATE OR REPLACE MACRO big_checked(x) AS
  CAST(big_in_range(CAST(x AS VARCHAR)) AS BIGNUM);

CREATE OR REPLACE MACRO big_add(a, b) AS
  big_checked(a + b);

CREATE OR REPLACE MACRO big_sub(a, b) AS
  big_checked(a - b);

-- Arrays

CREATE OR REPLACE MACRO array_at(a, i) AS
  CASE
  WHEN i < 1 OR i > len(a) THEN error('Array index ' || (i - 1) || ' is out of bounds')
  ELSE a[i] END;

CREATE OR REPLACE MACRO array_safe_at(a, i) AS
  CASE WHEN i < 1 THEN NULL ELSE a[i] END;

CREATE OR REPLACE MACRO array_join(a, b) AS
  CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE list_concat(a, b) END;

CREATE OR REPLACE MACRO array_text(a, sign, missing) AS
  CASE
  WHEN a IS NULL OR sign IS NULL THEN NULL
  WHEN len(a) = 0 THEN ''
  ELSE coalesce(array_to_string(list_transform(a, lambda e: coalesce(e, missing)), sign), '')
  END;

CREATE OR REPLACE MACRO number_range(a, b, step) AS
  CASE
  WHEN step = 0 THEN error('Sequence step cannot be 0.')
  ELSE generate_series(a, b, step) END;

-- Strings

CREATE OR REPLACE MACRO replace_text(s, a, b) AS
  CASE WHEN a = '' THEN s ELSE replace(s, a, b) END;

CREATE OR REPLACE MACRO substr_from(s, p) AS
  CASE WHEN p < 0 THEN greatest(length(s) + p + 1, 1) WHEN p = 0 THEN 1 ELSE p END;

CREATE OR REPLACE MACRO substr_text(s, p, n) AS
  CASE
  WHEN n < 0 THEN error('Third argument in SUBSTR() cannot be negative')
  ELSE substring(s, substr_from(s, p), coalesce(n, length(s))) END;

CREATE OR REPLACE MACRO left_checked(s, n) AS
  CASE
  WHEN n < 0 THEN error('Second argument in LEFT() cannot be negative')
  ELSE left(s, n) END;

CREATE OR REPLACE MACRO right_checked(s, n) AS
  CASE
  WHEN n < 0 THEN error('Second argument in RIGHT() cannot be negative')
  ELSE right(s, n) END;

CREATE OR REPLACE MACRO repeat_checked(s, n) AS
  CASE
  WHEN n < 0 THEN error('Second argument in REPEAT() cannot be negative')
  ELSE repeat(s, n) END;

CREATE OR REPLACE MACRO pad_left(s, n, p) AS
  CASE
  WHEN n < 0 OR p = '' THEN error('Invalid arguments to LPAD')
  ELSE lpad(s, CAST(n AS INTEGER), p) END;

CREATE OR REPLACE MACRO pad_right(s, n, p) AS
  CASE
  WHEN n < 0 OR p = '' THEN error('Invalid arguments to RPAD')
  ELSE rpad(s, CAST(n AS INTEGER), p) END;

CREATE OR REPLACE MACRO split_text(s, sign) AS
  string_split(s, sign);

CREATE OR REPLACE MACRO format_integer(x, width, zeros) AS
  CASE
  WHEN length(CAST(x AS VARCHAR)) >= width THEN CAST(x AS VARCHAR)
  WHEN NOT zeros THEN lpad(CAST(x AS VARCHAR), CAST(width AS INTEGER), ' ')
  WHEN x < 0 THEN '-' || lpad(substring(CAST(x AS VARCHAR), 2), CAST(width - 1 AS INTEGER),
  '0')
  ELSE lpad(CAST(x AS VARCHAR), CAST(width AS INTEGER), '0') END;

-- Dates and times

CREATE OR REPLACE MACRO micros_timestamp(x) AS
  CASE
  WHEN x < -62135596800000000 OR x >= 253402300800000000 THEN
  error('TIMESTAMP value is out of allowed range: ' || x)
  ELSE make_timestamptz(x) END;

CREATE OR REPLACE MACRO date_checked(d) AS
  CASE
  WHEN d < DATE '0001-01-01' OR d > DATE '9999-12-31' THEN
  error('DATE value is out of allowed range')
  ELSE d END;

CREATE OR REPLACE MACRO make_date_checked(y, m, d) AS
  make_date(y, m, d);

CREATE OR REPLACE MACRO make_datetime_checked(y, mo, d, h, mi, s) AS
  make_timestamp(y, mo, d, h, mi, CAST(s AS DOUBLE));

CREATE OR REPLACE MACRO make_time_checked(h, m, s) AS
  make_time(h, m, CAST(s AS DOUBLE));

CREATE OR REPLACE MACRO week_number(d, first) AS
  floor_div(CAST(CAST(d AS DATE) - DATE '1970-01-01' AS BIGINT) + 3 + first, 7);

CREATE OR REPLACE MACRO week_of_year(d, first) AS
  (dayofyear(d) + 6 - ((dayofweek(d) - first + 7) % 7)) // 7;

CREATE OR REPLACE MACRO micro_text(m) AS
  CASE
  WHEN m = 0 THEN ''
  WHEN m % 1000 = 0 THEN '.' || lpad(CAST(m // 1000 AS VARCHAR), 3, '0')
  ELSE '.' || lpad(CAST(m AS VARCHAR), 6, '0') END;

CREATE OR REPLACE MACRO datetime_text(x) AS
  strftime(x, '%Y-%m-%d %H:%M:%S') || micro_text(date_part('microsecond', x) % 1000000);

CREATE OR REPLACE MACRO time_text(x) AS
  left(CAST(x AS VARCHAR), 8) || micro_text(date_part('microsecond', x) % 1000000);

CREATE OR REPLACE MACRO text_to_timestamp_in(s, z) AS
  micros_timestamp(text_to_micros(s, z));

CREATE OR REPLACE MACRO text_to_timestamp(s) AS
  micros_timestamp(text_to_micros(s, 'UTC'));

CREATE OR REPLACE MACRO safe_text_to_timestamp(s) AS
  micros_timestamp(safe_text_to_micros(s, 'UTC'));

-- JSON

CREATE OR REPLACE MACRO json_or_null(s) AS
  CASE WHEN json_valid(s) THEN CAST(s AS JSON) END;

CREATE OR REPLACE MACRO json_scalar_at(j, p) AS
  CASE
  WHEN json_type(j, p) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL
  ELSE json_extract_string(j, p) END;

CREATE OR REPLACE MACRO json_scalar_text(j) AS
  json_scalar_at(j, '$');

CREATE OR REPLACE MACRO json_part_text(j, p) AS
  CASE WHEN json_type(j, p) = 'NULL' THEN NULL ELSE CAST(json_extract(j, p) AS VARCHAR) END;

CREATE OR REPLACE MACRO json_elements(j, p) AS
  CASE WHEN json_type(j, p) = 'ARRAY' THEN CAST(json_extract(j, p) AS JSON[]) END;

CREATE OR REPLACE MACRO json_scalars(j, p) AS
  CASE
  WHEN len(list_filter(json_elements(j, p), lambda e: json_type(e) IN ('OBJECT', 'ARRAY'))) >
  0 THEN NULL
  ELSE list_transform(json_elements(j, p), lambda e: json_scalar_at(e, '$')) END;

CREATE OR REPLACE MACRO json_at(j, k) AS
  json_extract(j, '$."' || replace(k, '"', '\"') || '"');

CREATE OR REPLACE MACRO json_nth(j, i) AS
  CASE WHEN i < 0 THEN NULL ELSE json_extract(j, '$[' || i || ']') END;

CREATE OR REPLACE MACRO json_text_name(s) AS
  CAST(to_json(s) AS VARCHAR);

CREATE OR REPLACE MACRO json_integer(x) AS
  CASE
  WHEN abs(CAST(x AS HUGEINT)) > 9007199254740992 THEN '"' || x || '"'
  ELSE CAST(x AS VARCHAR) END;

CREATE OR REPLACE MACRO json_decimal(v) AS
  CASE WHEN contains(v, '.') OR length(v) > 16 THEN '"' || v || '"' ELSE v END;

CREATE OR REPLACE MACRO json_numeric(x) AS
  json_decimal(numeric_text(x));

CREATE OR REPLACE MACRO json_big(x) AS
  json_decimal(big_text(x));

CREATE OR REPLACE MACRO json_float(x) AS
  CASE
  WHEN isnan(x) THEN '"NaN"'
  WHEN isinf(x) THEN CASE
  WHEN x > 0 THEN '"Infinity"'
  ELSE '"-Infinity"' END
  ELSE float_text(x) END;

CREATE OR REPLACE MACRO json_kind(j) AS
  CASE json_type(j)
  WHEN 'OBJECT' THEN 'object'
  WHEN 'ARRAY' THEN 'array'
  WHEN 'VARCHAR' THEN 'string'
  WHEN 'BOOLEAN' THEN 'boolean'
  WHEN 'NULL' THEN 'null'
  ELSE 'number' END;

CREATE OR REPLACE MACRO json_as_string(j) AS
  CASE
  WHEN json_type(j) = 'VARCHAR' THEN json_extract_string(j, '$')
  ELSE error('The provided JSON input is not a string') END;

CREATE OR REPLACE MACRO json_as_bool(j) AS
  CASE
  WHEN json_type(j) = 'BOOLEAN' THEN CAST(j AS BOOLEAN)
  ELSE error('The provided JSON input is not a boolean') END;

CREATE OR REPLACE MACRO json_as_int(j) AS
  CASE
  WHEN json_type(j) IN ('BIGINT', 'UBIGINT') THEN CAST(j AS BIGINT)
  ELSE error('The provided JSON input is not an integer') END;

CREATE OR REPLACE MACRO json_as_float(j) AS
  CASE
  WHEN json_type(j) IN ('BIGINT', 'UBIGINT', 'DOUBLE') THEN CAST(j AS DOUBLE)
  ELSE error('The provided JSON input is not a number') END;

-- A workitem that this server performs ends with the objects that are made of its study's result.

-- the result that ends it, from the study's outcome until nothing more is made of that result
ALTER TABLE workitems ADD COLUMN result_key TEXT;
